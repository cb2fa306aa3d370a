package servers

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// ElasticsearchVersion is the Elasticsearch that the tests run on.
const ElasticsearchVersion = "8.19.21"

// ElasticsearchOptions say which Elasticsearch to start.
type ElasticsearchOptions struct {
	Config      map[string]string // more of its options
	Password    string            // of the user elastic, at least 6 characters; "" for no security
	TLS         bool              // needs a Password
	Authority   *Authority        // signs the certificate; default one of its own
	Certificate *Certificate      // of the server; default one that the authority issues
	Heap        string            // default 256m
}

// Elasticsearch is one node. It refuses to be root: as root's child it is the user nobody.
type Elasticsearch struct {
	server
	URL       string
	Authority *Authority // nil without TLS

	java, home string
	ports      []int // HTTP, transport
	options    ElasticsearchOptions
}

// StartElasticsearch starts a node whose files are in dir, and returns when it takes requests. When root calls, dir and
// its parents are opened to everybody as far as they are temporary.
func StartElasticsearch(ctx context.Context, dir string, o ElasticsearchOptions) (*Elasticsearch, error) {
	java, err := JavaHome()
	if err != nil {
		return nil, err
	}
	home, err := elasticsearchHome(ctx, java)
	if err != nil {
		return nil, err
	}
	if o.Heap == "" {
		o.Heap = "256m"
	}
	e := &Elasticsearch{Authority: o.Authority, server: server{dir: dir}, java: java, home: home, options: o}
	if err := e.install(ctx); err != nil {
		return nil, fmt.Errorf("install Elasticsearch: %w", err)
	}
	if err := e.Start(ctx); err != nil {
		return nil, err
	}
	return e, nil
}

// CAFile is what clients have to trust, "" without TLS.
func (e *Elasticsearch) CAFile() string {
	if e.Authority == nil {
		return ""
	}
	return e.Authority.CAFile
}

// Start starts the node again after Stop or Kill, on the same ports, with the data it had.
func (e *Elasticsearch) Start(ctx context.Context) error {
	if err := e.start(ctx); err != nil {
		e.Kill()
		return fmt.Errorf("start Elasticsearch: %w", err)
	}
	return nil
}

// UseCertificate gives the node another certificate: at once when it runs, a few seconds later for sure at the next Start.
func (e *Elasticsearch) UseCertificate(c Certificate) error {
	for from, to := range map[string]string{c.CertFile: "server.pem", c.KeyFile: "server.key"} {
		text, err := os.ReadFile(from)
		if err != nil {
			return fmt.Errorf("give Elasticsearch a certificate: %w", err)
		}
		if err := os.WriteFile(e.path("config", to), text, 0o644); err != nil {
			return fmt.Errorf("give Elasticsearch a certificate: %w", err)
		}
	}
	return nil
}

func (e *Elasticsearch) path(names ...string) string {
	return filepath.Join(append([]string{e.dir}, names...)...)
}

func (e *Elasticsearch) install(ctx context.Context) error {
	for _, dir := range []string{"data", "logs", "tmp", "config/jvm.options.d"} {
		if err := os.MkdirAll(e.path(dir), 0o755); err != nil {
			return err
		}
	}
	if err := openToNobody(e.dir); err != nil {
		return err
	}
	if os.Getuid() == 0 { // the cache is root's alone
		if err := linkTree(e.home, e.path("home")); err != nil {
			return err
		}
		e.home = e.path("home")
	}
	for _, name := range []string{"log4j2.properties", "roles.yml", "role_mapping.yml", "users", "users_roles"} {
		text, err := os.ReadFile(filepath.Join(e.home, "config", name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(e.path("config", name), text, 0o644); err != nil {
			return err
		}
	}
	// What runs for minutes needs no second compiler, and no memory for a collector that shares the work.
	jvm := "-Xms" + e.options.Heap + "\n-Xmx" + e.options.Heap +
		"\n-XX:+UseSerialGC\n-XX:TieredStopAtLevel=1\n-XX:-UsePerfData\n-Djava.io.tmpdir=${ES_TMPDIR}\n"
	if err := os.WriteFile(e.path("config", "jvm.options"), []byte(jvm), 0o644); err != nil {
		return err
	}
	if err := e.secure(); err != nil {
		return err
	}
	if err := e.configure(); err != nil {
		return err
	}
	if err := giveToNobody(e.path("config"), e.path("data"), e.path("logs"), e.path("tmp")); err != nil {
		return err
	}
	if e.options.Password == "" {
		return nil
	}
	for _, args := range [][]string{{"create", "-s"}, {"add", "-x", "-s", "bootstrap.password"}} {
		keystore := e.command(ctx, "elasticsearch-keystore", args...)
		keystore.Stdin = strings.NewReader(e.options.Password)
		if out, err := keystore.CombinedOutput(); err != nil {
			return fmt.Errorf("store its password: %w: %s", err, out)
		}
	}
	return nil
}

// secure makes the certificate.
func (e *Elasticsearch) secure() error {
	if !e.options.TLS {
		return nil
	}
	var err error
	if e.Authority == nil {
		if e.Authority, err = NewAuthority(e.path("tls")); err != nil {
			return err
		}
	}
	server := e.options.Certificate
	if server == nil {
		c, err := e.Authority.Issue("elasticsearch", time.Now().Add(24*time.Hour))
		if err != nil {
			return err
		}
		server = &c
	}
	return e.UseCertificate(*server)
}

func (e *Elasticsearch) configure() error {
	var err error
	if e.ports, err = FreePorts(2); err != nil {
		return err
	}
	scheme := "http"
	conf := map[string]string{
		"cluster.name": "flinktail-test", "node.name": "one", "network.host": "127.0.0.1", "discovery.type": "single-node",
		"http.port": fmt.Sprint(e.ports[0]), "transport.port": fmt.Sprint(e.ports[1]),
		"path.data": e.path("data"), "path.logs": e.path("logs"),
		"cluster.routing.allocation.disk.threshold_enabled": "false", // a full disk of the machine is no matter of the tests
		"xpack.security.enabled":                            fmt.Sprint(e.options.Password != ""),
		"xpack.security.enrollment.enabled":                 "false",
	}
	if e.options.TLS {
		scheme = "https"
		conf["xpack.security.http.ssl.enabled"] = "true"
		conf["xpack.security.http.ssl.key"] = "server.key"
		conf["xpack.security.http.ssl.certificate"] = "server.pem"
	}
	maps.Copy(conf, e.options.Config)
	e.URL = fmt.Sprintf("%s://127.0.0.1:%d", scheme, e.ports[0])
	var text strings.Builder
	for _, key := range slices.Sorted(maps.Keys(conf)) {
		fmt.Fprintf(&text, "%s: %s\n", key, conf[key])
	}
	return os.WriteFile(e.path("config", "elasticsearch.yml"), []byte(text.String()), 0o644)
}

func (e *Elasticsearch) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := awaitFree(ctx, e.ports); err != nil {
		return err
	}
	var err error
	if e.process, err = StartProcess(e.command(context.Background(), "elasticsearch"), e.path("elasticsearch.log")); err != nil {
		return err
	}
	// Which certificate it shows is the test's matter.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	return e.process.await(ctx, func() bool { return e.healthy(ctx, client) })
}

func (e *Elasticsearch) healthy(ctx context.Context, client *http.Client) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, e.URL+"/_cluster/health?wait_for_status=yellow&timeout=5s", nil)
	if err != nil {
		return false
	}
	request.SetBasicAuth("elastic", e.options.Password)
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func (e *Elasticsearch) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(e.home, "bin", program), args...)
	cmd.Dir = e.dir
	cmd.Env = append(os.Environ(), "HOME="+e.path("tmp"), "ES_TMPDIR="+e.path("tmp"), "ES_PATH_CONF="+e.path("config"),
		"ES_JAVA_HOME="+e.java, "CLI_JAVA_OPTS=-XX:TieredStopAtLevel=1 -XX:-UsePerfData")
	asNobody(cmd)
	return cmd
}

// elasticsearchHome returns the distribution, fetched by Maven at the first call on this machine, with a plugin that
// adds what it lacks.
func elasticsearchHome(ctx context.Context, java string) (string, error) {
	folder := filepath.Join(Tree(), "test", "servers", "elasticsearch")
	pom, plugin := filepath.Join(folder, "pom.xml"), filepath.Join(folder, "RestPlugin.java")
	name := "elasticsearch-" + ElasticsearchVersion
	dir, err := cached(name, []string{pom, plugin}, func(dir string) error {
		if err := maven(ctx, "-f", pom, "-Delasticsearch.version="+ElasticsearchVersion, "-DoutputDirectory="+dir,
			"org.apache.maven.plugins:maven-dependency-plugin:3.8.1:unpack"); err != nil {
			return err
		}
		return buildPlugin(ctx, java, filepath.Join(dir, name), plugin)
	})
	return filepath.Join(dir, name), err
}

func buildPlugin(ctx context.Context, java, home, source string) error {
	programs, err := filepath.Glob(filepath.Join(home, "bin", "*"))
	if err != nil {
		return err
	}
	for _, program := range programs {
		if err := os.Chmod(program, 0o755); err != nil {
			return err
		}
	}
	classes, plugin := filepath.Join(home, "classes"), filepath.Join(home, "plugins", "flinktail-rest")
	if err := os.MkdirAll(plugin, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(classes)
	for _, args := range [][]string{
		{"javac", "-nowarn", "-proc:none", "-cp", filepath.Join(home, "lib", "*"), "-d", classes, source},
		{"jar", "--create", "--file", filepath.Join(plugin, "flinktail-rest.jar"), "-C", classes, "."},
	} {
		if out, err := exec.CommandContext(ctx, filepath.Join(java, "bin", args[0]), args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("run %s: %w: %s", args[0], err, out)
		}
	}
	descriptor := "name=flinktail-rest\ndescription=what the distribution lacks\nversion=1\njava.version=17\n" +
		"classname=com.github.flinktail.elasticsearch.RestPlugin\nelasticsearch.version=" + ElasticsearchVersion + "\n"
	return os.WriteFile(filepath.Join(plugin, "plugin-descriptor.properties"), []byte(descriptor), 0o644)
}
