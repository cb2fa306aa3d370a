package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"log"
	"net/http"
	"os"
	"sync"
)

// floor does the unavoidable and nothing else: -in reads lines, checks them and writes them; -listen takes NDJSON over HTTP,
// checks every line and has it written before it answers.
func floor(args []string) {
	flags := flag.NewFlagSet("floor", flag.ExitOnError)
	in := flags.String("in", "", "file to read")
	listen := flags.String("listen", "", "address to listen on")
	out := flags.String("out", "", "file to write")
	_ = flags.Parse(args)
	file, err := os.Create(*out)
	if err != nil {
		log.Fatal(err)
	}
	if *in != "" {
		err = floorCopy(*in, file)
	} else {
		err = http.ListenAndServe(*listen, floorHandler(file))
	}
	if err != nil {
		log.Fatal(err)
	}
}

func floorCopy(path string, out io.Writer) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	r, w := bufio.NewReaderSize(in, 1<<20), bufio.NewWriterSize(out, 1<<20)
	for {
		line, err := r.ReadSlice('\n')
		if err == io.EOF {
			return w.Flush()
		}
		if err != nil {
			return err
		}
		if json.Valid(line) {
			_, _ = w.Write(line)
		}
	}
}

func floorHandler(out io.Writer) http.Handler {
	var mu sync.Mutex
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := bytes.NewBuffer(make([]byte, 0, max(r.ContentLength, 0)+512))
		_, err := body.ReadFrom(r.Body)
		for rest := body.Bytes(); err == nil && len(rest) > 0; {
			var line []byte
			line, rest, _ = bytes.Cut(rest, []byte{'\n'})
			if !json.Valid(line) {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
		}
		mu.Lock()
		_, err = out.Write(body.Bytes())
		mu.Unlock()
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
}
