// Command bench measures flinktail as a whole process against the floor: a plain Go program that only reads or
// receives, checks that it is JSON, and writes. Quote the ratios; the times are this machine's.
//
//	go run ./test/bench            every case, a table at the end
//	go run ./test/bench -cases A   some
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "floor" { // the floor is this program again, as a process of its own
		floor(os.Args[2:])
		return
	}
	events := flag.Int("n", 1_000_000, "events")
	runs := flag.Int("runs", 3, "runs of each program, in turn; the medians are printed")
	cases := flag.String("cases", "A,B100,B1,B100-dropped,C,C-disk,C-outage,De,Dk,Dk-loggroup,start", "which to measure; there are A-synced, B100-synced and backlog, too")
	binary := flag.String("flinktail", "bin/flinktail", "the binary to measure")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := bench(ctx, *binary, *events, *runs, strings.Split(*cases, ","))
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// A benchCase measures one program once.
type benchCase struct {
	name   string
	limit  string // what flinktail must stay under
	events func(n int) int
	floor  func(*lab) (result, error)
	tail   func(*lab) (result, error)
}

var benchCases = []benchCase{
	{"A", "1.6 x floor, 60 MB", all, (*lab).floorFile, func(l *lab) (result, error) { return l.tailFile("none") }},
	{"A-synced", "", all, (*lab).floorFile, func(l *lab) (result, error) { return l.tailFile("batch") }},
	{"B100", "2 x floor, 60 MB, 250k events/s, p99 8 ms", all, floorHTTP(100), tailHTTP(100, toFile("none"))},
	{"B100-synced", "", all, floorHTTP(100), tailHTTP(100, toFile("batch"))},
	{"B1", "1.5 x floor", tenth, floorHTTP(1), tailHTTP(1, toFile("none"))},
	{"B100-dropped", "1.5 x floor", all, floorHTTP(100), tailHTTP(100, toNowhere)},
	{"C", "2.1 x floor, 60 MB", all, floorHTTP(100), tailForward(100, 0, 0)},
	{"C-disk", "4 x floor, 0.3 x its events/s, 5 syncs per 1,000 events", all, floorHTTP(100), onDisk(tailForward(100, 0, 0))},
	{"C-outage", "100 MB, nothing lost, nothing twice", all, floorHTTP(100), tailForward(100, 5*time.Second, 5*time.Second)},
	{"De", "2.5 x floor, 60 MB", all, (*lab).floorFile, (*lab).tailElasticsearch},
	{"Dk", "3 x floor, 60 MB", all, (*lab).floorFile, tailKafka("json")},
	{"Dk-loggroup", "1.8 x floor, 60 MB", all, (*lab).floorFile, tailKafka("loggroup")},
	{"backlog", "ready in 1 s, 100 MB, with 10 times the events in the queue on disk", all, nil, (*lab).backlog},
	{"start", "ready in 100 ms, 30 MB idle", all, nil, (*lab).start},
}

func all(n int) int   { return n }
func tenth(n int) int { return n / 10 }

func bench(ctx context.Context, binary string, events, runs int, names []string) error {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return err
	}
	if _, err := exec.LookPath(binary); err != nil {
		return fmt.Errorf("%w; \"make build\" makes it", err)
	}
	dir, err := os.MkdirTemp("", "flinktail-bench")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	l := &lab{ctx: ctx, dir: dir, binary: binary, corpus: filepath.Join(dir, "corpus.ndjson")}
	defer l.close()
	fmt.Fprintf(os.Stderr, "writing a corpus of %d events\n", events)
	if err := writeCorpus(l.corpus, events); err != nil {
		return err
	}
	var rows []string
	for _, c := range benchCases {
		if !slices.Contains(names, c.name) {
			continue
		}
		l.events = c.events(events)
		var floors, tails []result
		for i := range runs {
			fmt.Fprintf(os.Stderr, "%s, run %d of %d\n", c.name, i+1, runs)
			if c.floor != nil {
				r, err := c.floor(l)
				if err != nil {
					return fmt.Errorf("%s: floor: %w", c.name, err)
				}
				floors = append(floors, r)
			}
			r, err := c.tail(l)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			tails = append(tails, r)
		}
		rows = append(rows, row(c, floors, tails))
	}
	fmt.Println("| case | floor, CPU s per million | flinktail, CPU s per million | ratio | peak RSS | events/s | p99 of a POST | must |")
	fmt.Println("|---|---|---|---|---|---|---|---|")
	for _, r := range rows {
		fmt.Println(r)
	}
	return nil
}

// result is one run of one program.
type result struct {
	cpu     float64 // user and system seconds per million events
	rssMB   float64 // peak
	rate    float64 // events per second, over HTTP
	p99     float64 // milliseconds
	readyMS float64
	idleMB  float64
	syncs   float64 // of the queue on disk, per 1,000 events
}

func median(rs []result, of func(result) float64) float64 {
	values := make([]float64, len(rs))
	for i, r := range rs {
		values[i] = of(r)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func row(c benchCase, floors, tails []result) string {
	if c.floor == nil {
		return fmt.Sprintf("| %s | | | | %.0f MB idle | ready in %.0f ms | | %s |", c.name,
			median(tails, func(r result) float64 { return r.idleMB }), median(tails, func(r result) float64 { return r.readyMS }), c.limit)
	}
	cpu := func(r result) float64 { return r.cpu }
	ratios := make([]result, len(tails))
	for i := range tails {
		ratios[i].cpu = tails[i].cpu / floors[i].cpu
	}
	http := "| |"
	if tails[0].rate > 0 {
		rate, p99 := func(r result) float64 { return r.rate / 1000 }, func(r result) float64 { return r.p99 }
		syncs := ""
		if n := median(tails, func(r result) float64 { return r.syncs }); n > 0 {
			syncs = fmt.Sprintf(", %.2f syncs per 1,000", n)
		}
		http = fmt.Sprintf("%.0fk (floor %.0fk)%s | %.1f ms (floor %.1f ms) |", median(tails, rate), median(floors, rate), syncs, median(tails, p99), median(floors, p99))
	}
	return fmt.Sprintf("| %s | %.2f | %.2f | %.2f | %.0f MB | %s %s |", c.name, median(floors, cpu), median(tails, cpu),
		median(ratios, cpu), median(tails, func(r result) float64 { return r.rssMB }), http, c.limit)
}
