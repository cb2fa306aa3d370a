// Command protogen generates Go code from the .proto files named on its command line, beside
// them: what protoc and its plugins do, without a protoc to install.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// plugins are the generators, each run as a tool of this module, with its parameter.
var plugins = [][2]string{
	{"protoc-gen-go", "paths=source_relative"},
	{"protoc-gen-go-vtproto", "paths=source_relative,features=marshal+unmarshal_unsafe+size"},
}

func main() {
	for _, path := range os.Args[1:] {
		if err := generate(path); err != nil {
			fmt.Fprintln(os.Stderr, "protogen:", err)
			os.Exit(1)
		}
	}
}

func generate(path string) error {
	dir, name := filepath.Split(path)
	compiler := protocompile.Compiler{
		Resolver:       &protocompile.SourceResolver{ImportPaths: []string{dir}},
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := compiler.Compile(context.Background(), name)
	if err != nil {
		return err
	}
	for _, plugin := range plugins {
		request, err := proto.Marshal(&pluginpb.CodeGeneratorRequest{
			FileToGenerate: []string{name},
			Parameter:      &plugin[1],
			ProtoFile:      []*descriptorpb.FileDescriptorProto{protoutil.ProtoFromFileDescriptor(files[0])},
		})
		if err != nil {
			return err
		}
		command := exec.Command("go", "tool", plugin[0])
		command.Stdin, command.Stderr = bytes.NewReader(request), os.Stderr
		out, err := command.Output()
		if err != nil {
			return fmt.Errorf("run %s: %w", plugin[0], err)
		}
		var response pluginpb.CodeGeneratorResponse
		if err := proto.Unmarshal(out, &response); err != nil {
			return fmt.Errorf("read the answer of %s: %w", plugin[0], err)
		}
		if response.Error != nil {
			return fmt.Errorf("%s: %s", plugin[0], *response.Error)
		}
		for _, f := range response.File {
			if err := os.WriteFile(filepath.Join(dir, f.GetName()), []byte(f.GetContent()), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}
