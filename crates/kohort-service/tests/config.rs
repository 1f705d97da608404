//! What a service's file may say, and what a person is told when it says something else.

use std::time::Duration;

use kohort_service::config::Protocol;
use kohort_service::{Order, ServiceFile, StartOffset};

const SHIPPED: &str = include_str!("../../../apps/dataflow/etc/dataflow.yaml");

fn parse(text: &str) -> ServiceFile {
    ServiceFile::parse("dataflow", "etc/dataflow.yaml", text).unwrap_or_else(|error| panic!("{error}"))
}

fn refusal(text: &str) -> String {
    ServiceFile::parse("dataflow", "etc/dataflow.yaml", text).expect_err("must be refused").to_string()
}

#[test]
fn the_shipped_file_holds_the_groups_and_topics_of_the_original() {
    let file = parse(SHIPPED);
    let table: Vec<_> = file
        .kqs
        .iter()
        .map(|kq| (kq.name.as_str(), kq.group.as_str(), kq.topic.as_str(), kq.consumers, kq.processors))
        .collect();
    assert_eq!(
        table,
        [
            ("KqSol", "data-flow-default-group-1888", "sol-trades", 1, 1),
            ("KqBsc", "data-flow-default-group-10", "bsc-trades", 1, 1),
            ("KqEth", "data-flow-default-group10", "eth-trades", 1, 1),
            ("KqBase", "data-flow-default-group10", "base-trades", 1, 1),
        ]
    );
    assert!(file.kqs.iter().all(|kq| kq.brokers == ["127.0.0.1:9092"]));
    assert_eq!(file.warnings, Vec::<String>::new());
}

#[test]
fn what_a_block_leaves_out_has_the_default_of_kq() {
    let file = parse("Kq:\n  Group: g\n  Topic: t\n");
    let kq = &file.kqs[0];
    assert_eq!((kq.conns, kq.consumers, kq.processors), (1, 8, 8));
    assert_eq!((kq.min_bytes, kq.max_bytes), (10_240, 10_485_760));
    assert_eq!((kq.offset, kq.force_commit, kq.commit_in_order), (StartOffset::Last, true, false));
    assert_eq!((kq.order, kq.max_attempts, kq.protocol), (Order::Key, 3, Protocol::Auto));
    assert_eq!((kq.dlq_topic.as_str(), kq.commit_interval), ("t.g.dlq", Duration::from_secs(1)));
    assert!(file.warnings[0].contains("leaves `Offset` at `last`"), "{:?}", file.warnings);
}

#[test]
fn every_key_of_a_block_is_read() {
    let text = "
Kq:
  Brokers: [kafka-1:9092, kafka-2:9092]
  Group: g
  Topic: t
  Offset: first
  Conns: 2
  Consumers: 3
  Processors: 4
  MinBytes: 1
  MaxBytes: 2
  Username: u
  Password: 'p'
  CaFile: ca.pem
  ForceCommit: false
  CommitInOrder: true
  Order: partition
  MaxAttempts: 5
  RetryBackoff: 250ms
  DlqTopic: dead
  InstanceId: i
  Assignor: [cooperative-sticky, range]
  Protocol: classic
  DrainTimeout: 5s
  CommitInterval: 2s
  SessionTimeout: 6s
";
    let file = parse(text);
    let kq = &file.kqs[0];
    assert_eq!(kq.brokers, ["kafka-1:9092", "kafka-2:9092"]);
    assert_eq!((kq.offset, kq.conns, kq.consumers, kq.processors), (StartOffset::First, 2, 3, 4));
    assert_eq!((kq.min_bytes, kq.max_bytes), (1, 2));
    assert_eq!((kq.username.as_deref(), kq.password.as_deref()), (Some("u"), Some("p")));
    assert_eq!((kq.ca_file.as_deref(), kq.force_commit, kq.commit_in_order), (Some("ca.pem"), false, true));
    assert_eq!((kq.order, kq.max_attempts), (Order::Partition, 5));
    assert_eq!((kq.retry_backoff, kq.dlq_topic.as_str()), (Duration::from_millis(250), "dead"));
    assert_eq!((kq.instance_id.as_deref(), kq.protocol), (Some("i"), Protocol::Classic));
    assert_eq!(kq.assignors, ["cooperative-sticky", "range"]);
    assert_eq!(
        (kq.drain_timeout, kq.session_timeout),
        (Duration::from_secs(5), Some(Duration::from_secs(6)))
    );
    assert!(file.warnings[0].contains("`Conns` is not used"), "{:?}", file.warnings);
}

#[test]
fn keys_match_without_regard_to_case() {
    assert_eq!(parse("kqsol:\n  GROUP: g\n  topic: t\n  consumers: 2\n").kqs[0].consumers, 2);
}

#[test]
fn a_misspelt_key_is_refused_with_its_place_and_the_mend() {
    assert_eq!(
        refusal("Name: x\nKqSol:\n  Group: g\n  Topic: t\n  Procesors: 2\n"),
        "error: `dataflow` cannot start: unknown key `Procesors`\n   at: etc/dataflow.yaml:5\n  why: a misspelt key \
         would silently leave `Processors` at its default\n hint: did you mean `Processors`?"
    );
    assert!(refusal("Sqlite: x\n").contains("hint: remove it; known here: Name, Host, Port"));
}

#[test]
fn a_value_of_the_wrong_kind_is_refused_with_its_place() {
    let block = |line: &str| refusal(&format!("Kq:\n  Group: g\n  Topic: t\n  {line}\n"));
    assert!(
        block("Consumers: many")
            .contains("`Consumers` is `many`, not a whole number\n   at: etc/dataflow.yaml:4")
    );
    assert!(block("Consumers: 0").contains("it must be from 1 to 1024"));
    assert!(block("Processors: -1").contains("not a whole number"));
    assert!(block("Offset: frist").contains("did you mean `first`?"));
    assert!(block("ForceCommit: yes").contains("not true or false"));
    assert!(block("RetryBackoff: 5").contains("write a number with its unit"));
    assert!(block("Group: again").contains("`Group` stands twice, first on line 2"));
    assert!(block("Assignor: eager").contains("cooperative-sticky"));
    assert!(block("Brokers: localhost").contains("not `host:port`"));
    assert!(block("Username: u").contains("SASL/PLAIN needs both"));
    assert!(block("DlqTopic: a b").contains("cannot be the name of a topic"));
    assert!(block("MinBytes: 20000000").contains("`MinBytes` (20000000) is more than `MaxBytes` (10485760)"));
}

#[test]
fn a_missing_key_says_what_it_is_for() {
    assert!(refusal("Kq:\n  Topic: t\n").contains("`Kq` has no `Group`\n   at: etc/dataflow.yaml:2"));
    assert!(refusal("Kq: [1]\n").contains("`Kq` is a list, not a block of keys"));
    assert!(refusal("- a\n").contains("the file is a list, not a block of keys"));
}

#[test]
fn text_that_is_no_yaml_names_its_line() {
    assert!(refusal("Name: x\nKq: {Group: g\nTopic: t\n").contains("the file is not YAML"));
    let tab = refusal("Name: x\n\tKq: 1\n");
    assert!(tab.contains("found a tab\n   at: etc/dataflow.yaml:1"), "{tab}");
}

#[test]
fn names_that_go_zero_services_carry_are_no_error() {
    let file = parse(
        "Name: dataflow\nHost: 0.0.0.0\nPort: 8888\nMode: dev\nLog: {Level: severe, Encoding: plain}\n\
         Telemetry: {Name: a}\nPrometheus: {Host: 0.0.0.0, Port: 9091}\n\
         Mysql: {DataSource: 'u:p@tcp(127.0.0.1:3306)/d'}\nRedis: {Host: '127.0.0.1:6379', Type: node, Pass: ''}\n",
    );
    assert_eq!(file.http.as_deref(), Some("0.0.0.0:8888"));
    assert_eq!(file.log.level.as_deref(), Some("error"));
    assert_eq!(file.mysql.map(|mysql| mysql.source).as_deref(), Some("u:p@tcp(127.0.0.1:3306)/d"));
    assert_eq!(file.redis.map(|redis| (redis.host, redis.pass)), Some(("127.0.0.1:6379".to_owned(), None)));
    assert_eq!(
        file.warnings,
        [
            "not used in `Log`: Encoding: logs go to stderr",
            "etc/dataflow.yaml: not used: Mode, Telemetry, Prometheus"
        ]
    );
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = ServiceFile::read("dataflow", std::path::Path::new("no/such.yaml")).unwrap_err().to_string();
    assert!(
        error.contains("at: no/such.yaml") && error.contains("hint: name an existing YAML file"),
        "{error}"
    );
}

#[test]
fn stores_of_the_group_are_a_list_and_their_passwords_secrets() {
    let file = parse(
        "GroupStores:\n  - redis://cache\n  - root:s3cret@tcp(db)/candles\nKq: {Group: g, Topic: t, Offset: first}\n",
    );
    let found: Vec<_> = file.group_stores.iter().map(|s| (s.place.as_str(), s.at.as_str())).collect();
    assert_eq!(
        found,
        [("redis://cache:6379/0", "etc/dataflow.yaml:2"), ("mysql://db:3306/candles", "etc/dataflow.yaml:3")]
    );
    assert_eq!(file.group_stores[1].url, "root:s3cret@tcp(db)/candles");
    let secret = "the password of `mysql://db:3306/candles` in `GroupStores`".to_owned();
    assert_eq!(file.plain_secrets, [(secret, "etc/dataflow.yaml:3".to_owned())]);
    assert_eq!(
        parse("GroupStores: sqlite:/data/candles.db\n").group_stores[0].place,
        "sqlite:/data/candles.db"
    );
    let twice = refusal("GroupStores: [redis://cache, 'redis://u:p@cache:6379']\n");
    assert!(twice.contains("stands twice") && twice.contains("etc/dataflow.yaml:1"), "{twice}");
}
