package servers

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// KafkaVersion is the Kafka that the tests run on.
const KafkaVersion = "4.4.0"

// KafkaOptions say which Kafka to start.
type KafkaOptions struct {
	Config      map[string]string // more of the broker's options
	Authority   *Authority        // signs the certificates; default one of its own
	Certificate *Certificate      // of the broker; default one that the authority issues
	Heap        string            // default 384m
}

// Kafka is one node, broker and controller. Topics are not made by themselves. A client of SSL may show a certificate,
// and has to with the option ssl.client.auth=required. The users of both SASL listeners are alice with the password
// alice-secret, by PLAIN, and bob with bob-secret, by SCRAM-SHA-256 and SCRAM-SHA-512.
type Kafka struct {
	server
	Plaintext, SASLPlaintext, SASLSSL, SSL string // addresses
	Authority                              *Authority
	Client                                 Certificate // for SSL

	java, classPath string
	ports           []int
	options         KafkaOptions
}

// StartKafka starts a broker whose files are in dir, and returns when it takes requests.
func StartKafka(ctx context.Context, dir string, o KafkaOptions) (*Kafka, error) {
	home, err := JavaHome()
	if err != nil {
		return nil, err
	}
	jars, err := kafkaJars(ctx)
	if err != nil {
		return nil, err
	}
	if o.Heap == "" {
		o.Heap = "384m"
	}
	k := &Kafka{
		Authority: o.Authority, server: server{dir: dir}, options: o,
		java: filepath.Join(home, "bin", "java"), classPath: filepath.Join(jars, "*"),
	}
	if err := k.install(ctx); err != nil {
		return nil, fmt.Errorf("install Kafka: %w", err)
	}
	if err := k.Start(ctx); err != nil {
		return nil, err
	}
	return k, nil
}

// CAFile is what clients have to trust.
func (k *Kafka) CAFile() string { return k.Authority.CAFile }

// Start starts the broker again after Stop or Kill, on the same ports, with the data it had.
func (k *Kafka) Start(ctx context.Context) error {
	if err := k.start(ctx); err != nil {
		k.Kill()
		return fmt.Errorf("start Kafka: %w", err)
	}
	return nil
}

// UseCertificate gives the broker another certificate at the next Start.
func (k *Kafka) UseCertificate(c Certificate) error {
	chain, err := keyAndCertificate(c)
	if err != nil {
		return fmt.Errorf("give Kafka a certificate: %w", err)
	}
	return os.WriteFile(k.path("server.pem"), chain, 0o600)
}

// Configure changes options of the broker at the next Start.
func (k *Kafka) Configure(options map[string]string) error {
	var text strings.Builder
	config := k.config()
	maps.Copy(config, options)
	for _, key := range slices.Sorted(maps.Keys(config)) {
		fmt.Fprintf(&text, "%s=%s\n", key, config[key])
	}
	return os.WriteFile(k.path("server.properties"), []byte(text.String()), 0o600)
}

func (k *Kafka) path(name string) string { return filepath.Join(k.dir, name) }

func (k *Kafka) install(ctx context.Context) error {
	if err := os.MkdirAll(k.dir, 0o755); err != nil {
		return err
	}
	var err error
	if k.Authority == nil {
		if k.Authority, err = NewAuthority(k.path("tls")); err != nil {
			return err
		}
	}
	valid := time.Now().Add(24 * time.Hour)
	if k.Client, err = k.Authority.Issue("kafka-client", valid); err != nil {
		return err
	}
	server := k.options.Certificate
	if server == nil {
		c, err := k.Authority.Issue("kafka", valid)
		if err != nil {
			return err
		}
		server = &c
	}
	if err := k.UseCertificate(*server); err != nil {
		return err
	}
	if k.ports, err = FreePorts(5); err != nil {
		return err
	}
	for i, address := range []*string{&k.Plaintext, &k.SASLPlaintext, &k.SASLSSL, &k.SSL} {
		*address = fmt.Sprintf("127.0.0.1:%d", k.ports[i])
	}
	if err := k.Configure(nil); err != nil {
		return err
	}
	if err := os.WriteFile(k.path("log4j2.properties"), []byte(log4j), 0o644); err != nil {
		return err
	}
	format := k.command(ctx, "kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c", k.path("server.properties"),
		"--add-scram", "SCRAM-SHA-256=[name=bob,password=bob-secret]", "--add-scram", "SCRAM-SHA-512=[name=bob,password=bob-secret]")
	if out, err := format.CombinedOutput(); err != nil {
		return fmt.Errorf("format its storage: %w: %s", err, out)
	}
	return nil
}

func (k *Kafka) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := awaitFree(ctx, k.ports); err != nil {
		return err
	}
	if err := os.RemoveAll(k.path("kafka.log")); err != nil { // what an earlier process wrote says nothing about this one
		return err
	}
	var err error
	k.process, err = StartProcess(k.command(context.Background(), "kafka.Kafka", k.path("server.properties")), k.path("kafka.log"))
	if err != nil {
		return err
	}
	return k.process.await(ctx, func() bool { return strings.Contains(k.process.Log(), "Kafka Server started") })
}

func (k *Kafka) command(ctx context.Context, class string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, k.java, append([]string{
		"-Xmx" + k.options.Heap, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData",
		"-Dlog4j2.configurationFile=" + k.path("log4j2.properties"), "-cp", k.classPath, class,
	}, args...)...)
	cmd.Dir = k.dir
	return cmd
}

func (k *Kafka) config() map[string]string {
	controller := fmt.Sprintf("127.0.0.1:%d", k.ports[4])
	listeners := "PLAINTEXT://" + k.Plaintext + ",SASL_PLAINTEXT://" + k.SASLPlaintext + ",SASL_SSL://" + k.SASLSSL + ",SSL://" + k.SSL
	config := map[string]string{
		"process.roles": "broker,controller", "node.id": "1", "controller.quorum.voters": "1@" + controller,
		"controller.listener.names": "CONTROLLER", "inter.broker.listener.name": "PLAINTEXT",
		"listeners": listeners + ",CONTROLLER://" + controller, "advertised.listeners": listeners,
		"listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL,CONTROLLER:PLAINTEXT",

		"sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
		"ssl.keystore.type":       "PEM", "ssl.keystore.location": k.path("server.pem"),
		"ssl.truststore.type": "PEM", "ssl.truststore.location": k.Authority.CAFile,
		"listener.name.ssl.ssl.client.auth": "requested",

		"log.dirs": k.path("data"), "auto.create.topics.enable": "false", "num.partitions": "3",
		"offsets.topic.replication.factor": "1", "offsets.topic.num.partitions": "1",
		"transaction.state.log.replication.factor": "1", "transaction.state.log.min.isr": "1", "transaction.state.log.num.partitions": "1",
		"share.coordinator.state.topic.replication.factor": "1", "share.coordinator.state.topic.min.isr": "1",
		"share.coordinator.state.topic.num.partitions": "1",
		"group.initial.rebalance.delay.ms":             "0", "log.cleaner.dedupe.buffer.size": "16777216",
		"num.network.threads": "2", "num.io.threads": "2",
	}
	for _, listener := range []string{"sasl_plaintext", "sasl_ssl"} {
		config["listener.name."+listener+".plain.sasl.jaas.config"] =
			`org.apache.kafka.common.security.plain.PlainLoginModule required user_alice="alice-secret";`
		for _, mechanism := range []string{"scram-sha-256", "scram-sha-512"} {
			config["listener.name."+listener+"."+mechanism+".sasl.jaas.config"] =
				"org.apache.kafka.common.security.scram.ScramLoginModule required;"
		}
	}
	maps.Copy(config, k.options.Config)
	return config
}

// keyAndCertificate is what Kafka wants in one file.
func keyAndCertificate(c Certificate) ([]byte, error) {
	key, err := os.ReadFile(c.KeyFile)
	if err != nil {
		return nil, err
	}
	certificate, err := os.ReadFile(c.CertFile)
	if err != nil {
		return nil, err
	}
	return slices.Concat(key, certificate), nil
}

// kafkaJars returns the folder with Kafka's jars, fetched by Maven at the first call on this machine.
func kafkaJars(ctx context.Context) (string, error) {
	pom := filepath.Join(Tree(), "test", "servers", "kafka", "pom.xml")
	return cached("kafka-"+KafkaVersion, []string{pom}, func(dir string) error {
		return maven(ctx, "-f", pom, "-Dkafka.version="+KafkaVersion, "-DincludeScope=runtime", "-DoutputDirectory="+dir,
			"org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies")
	})
}
