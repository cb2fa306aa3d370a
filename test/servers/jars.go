package servers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// FlinkVersion is the Flink that the tests run on when they do not say otherwise.
const FlinkVersion = "2.3.0"

// Flink1Version is the last Flink 1.
const Flink1Version = "1.20.5"

// Tree returns the root of the source tree.
func Tree() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// JavaHome returns the JDK that JAVA_HOME names, else the one on the PATH. An error says what to install.
func JavaHome() (string, error) {
	if home := os.Getenv("JAVA_HOME"); home != "" {
		if _, err := os.Stat(filepath.Join(home, "bin", "java")); err != nil {
			return "", fmt.Errorf("find Java: JAVA_HOME holds no bin/java: %w", err)
		}
		return home, nil
	}
	java, err := exec.LookPath("java")
	if err != nil {
		return "", errors.New("find Java: no java on the PATH: run test/install-deps.sh, or install a JDK 17")
	}
	if java, err = filepath.EvalSymlinks(java); err != nil {
		return "", fmt.Errorf("find Java: %w", err)
	}
	return filepath.Dir(filepath.Dir(java)), nil
}

// FlinkJars returns the folder with Flink's jars, fetched by Maven at the first call on this machine.
func FlinkJars(ctx context.Context, version string) (string, error) {
	pom := filepath.Join(Tree(), "test", "servers", "flink", "pom.xml")
	return cached("flink-"+version, []string{pom}, func(dir string) error {
		args := []string{
			"-f", pom, "-Dflink.version=" + version, "-DincludeScope=runtime", "-DoutputDirectory=" + dir,
			"org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies",
		}
		if version == FlinkVersion { // the SQL jars of others are large, and no job of theirs needs them
			args = append(args, "-Psql")
		}
		return maven(ctx, args...)
	})
}

// Jobs returns the jar with the jobs of test/jobs, built when their sources have changed.
func Jobs(ctx context.Context) (string, error) {
	source := filepath.Join(Tree(), "test", "jobs")
	var files []string
	err := filepath.WalkDir(source, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == "target" {
			return filepath.SkipDir
		}
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read the jobs: %w", err)
	}
	dir, err := cached("jobs", files, func(dir string) error {
		return maven(ctx, "-f", filepath.Join(source, "pom.xml"), "-Doutput="+dir, "package")
	})
	return filepath.Join(dir, "jobs.jar"), err
}

// ListenerJars returns the jar for Flink's lib folder and the one for its plugins, which `make listener` builds.
func ListenerJars() (status, enricher string, err error) {
	status = filepath.Join(Tree(), "listener", "target", "flinktail-status-listener.jar")
	enricher = filepath.Join(Tree(), "listener", "target", "flinktail-failure-enricher.jar")
	for _, jar := range []string{status, enricher} {
		if _, err := os.Stat(jar); err != nil {
			return "", "", fmt.Errorf("find the listener jars: run make listener: %w", err)
		}
	}
	return status, enricher, nil
}

// CacheDir is where downloads stay between runs.
func CacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache folder: %w", err)
	}
	return filepath.Join(dir, "flinktail-test"), nil
}

// cached returns a folder that fill has filled for these files; an interrupted fill leaves nothing behind that counts.
func cached(name string, files []string, fill func(dir string) error) (string, error) {
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("fill the cache with %s: %w", name, err)
		}
		fmt.Fprintf(hash, "%s %d\n%s", filepath.Base(file), len(text), text)
	}
	dir := filepath.Join(cache, name+"-"+hex.EncodeToString(hash.Sum(nil))[:12])
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("fill the cache with %s: %w", name, err)
	}
	part, err := os.MkdirTemp(cache, name+"-part-")
	if err != nil {
		return "", fmt.Errorf("fill the cache with %s: %w", name, err)
	}
	defer os.RemoveAll(part)
	if err := fill(part); err != nil {
		return "", fmt.Errorf("fill the cache with %s: %w", name, err)
	}
	if err := os.Rename(part, dir); err != nil && !errors.Is(err, fs.ErrExist) { // another run was first
		return "", fmt.Errorf("fill the cache with %s: %w", name, err)
	}
	return dir, nil
}

func maven(ctx context.Context, args ...string) error {
	home, err := JavaHome()
	if err != nil {
		return err
	}
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return errors.New("find Maven: no mvn on the PATH: run test/install-deps.sh, or install Maven 3.8")
	}
	cmd := exec.CommandContext(ctx, mvn, append([]string{"-B", "-ntp", "-q"}, args...)...)
	cmd.Env = append(os.Environ(), "JAVA_HOME="+home)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run mvn: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
