use clap::CommandFactory;

use super::*;

#[derive(Parser, Debug)]
#[command(name = "example")]
struct Example {
    /// Shared secret of the sender.
    #[arg(
        long,
        env = "KIT_TEST_SECRETS",
        hide_env_values = true,
        default_value = ""
    )]
    secrets: SecretList,
    #[arg(long, hide_env_values = true)]
    token: Option<Secret>,
    #[arg(long, default_value = "10s")]
    timeout: Seconds,
}

fn arguments(list: &[&str]) -> Vec<OsString> {
    list.iter().map(Into::into).collect()
}

#[test]
fn durations_parse_and_print_as_inverses() {
    for (text, milliseconds, printed) in [
        ("250ms", 250, "250ms"),
        ("0s", 0, "0s"),
        ("5s", 5_000, "5s"),
        ("90s", 90_000, "90s"),
        ("2m", 120_000, "2m"),
        ("1500ms", 1_500, "1500ms"),
        ("60 m", 3_600_000, "1h"),
        ("7d", 604_800_000, "7d"),
    ] {
        let parsed: Seconds = text.parse().unwrap();
        assert_eq!(parsed.duration().as_millis(), milliseconds, "{text}");
        assert_eq!(parsed.to_string(), printed);
        assert_eq!(printed.parse(), Ok(parsed), "{printed} reads back");
    }
    for wrong in [
        "",
        "5",
        "s",
        "-1s",
        "1.5s",
        "5 sec",
        "5S",
        "99999999999999999d",
    ] {
        assert!(wrong.parse::<Seconds>().is_err(), "{wrong:?}");
    }
}

#[test]
fn sizes_parse_and_print_as_inverses() {
    for (text, bytes, printed) in [
        ("0", 0, "0"),
        ("512", 512, "512"),
        ("512B", 512, "512"),
        ("512KiB", 524_288, "512KiB"),
        ("1024 KiB", 1_048_576, "1MiB"),
        ("1MiB", 1_048_576, "1MiB"),
        ("2GiB", 2_147_483_648, "2GiB"),
        ("1025", 1025, "1025"),
    ] {
        let parsed: Bytes = text.parse().unwrap();
        assert_eq!(parsed.get(), bytes, "{text}");
        assert_eq!(parsed.to_string(), printed);
        assert_eq!(printed.parse(), Ok(parsed), "{printed} reads back");
    }
    for wrong in ["", "1MB", "1k", "MiB", "-5", "1e3", "99999999999GiB"] {
        assert!(wrong.parse::<Bytes>().is_err(), "{wrong:?}");
    }
}

#[test]
fn listen_addresses_name_an_ip_and_a_port() {
    for (text, printed) in [
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("localhost:0", "127.0.0.1:0"),
        ("[::]:80", "[::]:80"),
    ] {
        assert_eq!(text.parse::<HttpListen>().unwrap().to_string(), printed);
    }
    for wrong in [
        "8080",
        ":8080",
        "example.com:80",
        "127.0.0.1",
        "::1:80x",
        "1.2.3.4:70000",
    ] {
        assert!(wrong.parse::<HttpListen>().is_err(), "{wrong:?}");
    }
}

#[test]
fn secrets_never_print() {
    let parsed: Example = try_parse(arguments(&[
        "example",
        "--secrets",
        " hunter2 ,, hunter3",
        "--token",
        "hunter4\n",
    ]))
    .unwrap();
    let values: Vec<_> = parsed.secrets.iter().map(Secret::expose).collect();
    assert_eq!(values, ["hunter2", "hunter3"]);
    let token = parsed.token.clone().unwrap();
    assert_eq!(token.expose(), "hunter4");
    let shown = format!(
        "{parsed:?} {parsed:#?} {token} {token:?} {}",
        parsed.secrets
    );
    assert!(!shown.contains("hunter"), "{shown}");
    assert!(shown.contains("***"));
}

#[test]
fn an_empty_secret_is_refused_without_repeating_it() {
    let error = try_parse::<Example>(arguments(&["example", "--token", " "])).unwrap_err();
    assert!(error.to_string().contains("must not be empty"), "{error}");
}

#[test]
fn help_hides_what_the_environment_holds() {
    // PATH is set in every test run, so it stands for a variable that holds a secret.
    #[derive(Parser, Debug)]
    struct FromPath {
        #[arg(long, env = "PATH", hide_env_values = true)]
        token: Option<Secret>,
    }
    let help = FromPath::command().render_long_help().to_string();
    assert!(help.contains("PATH"), "the variable is named: {help}");
    assert!(!help.contains("bin"), "its value is not: {help}");
    let parsed: FromPath = try_parse(arguments(&["x"])).unwrap();
    assert!(
        parsed
            .token
            .is_some_and(|token| token.expose().contains("bin"))
    );
}

#[test]
fn an_ignored_variable_counts_as_not_set() {
    for ignored in [false, true] {
        let path = clap::Arg::new("path").long("path").env("PATH");
        let inner = Command::new("inner").arg(path.clone());
        let outer = Command::new("outer").arg(path).subcommand(inner);
        let command = without_variables(outer, &|name| ignored && name == "PATH");
        let matches = command.try_get_matches_from(["outer", "inner"]).unwrap();
        let (_, below) = matches.subcommand().unwrap();
        for matches in [&matches, below] {
            assert_eq!(matches.get_one::<String>("path").is_none(), ignored);
        }
    }
}

#[test]
fn one_services_settings_parse_alone() {
    #[derive(Args, Debug)]
    struct Settings {
        #[arg(long, default_value = "127.0.0.1:8080")]
        listen: HttpListen,
    }
    let settings: Settings = parse_service("ingress", arguments(&["--listen", "[::1]:0"])).unwrap();
    assert_eq!(settings.listen.to_string(), "[::1]:0");
    let error = parse_service::<Settings>("ingress", arguments(&["--listen", "x"])).unwrap_err();
    assert!(
        error.to_string().contains("is not an address to listen on"),
        "{error}"
    );
}

#[test]
fn each_service_has_its_own_file() {
    let path: ServicePath = ".tocsin/keys/{service}.key".parse().unwrap();
    assert_eq!(path.of("audit").to_str(), Some(".tocsin/keys/audit.key"));
}

proptest::proptest! {
    #[test]
    fn every_unit_prints_as_what_it_reads(number: u64) {
        let bytes = Bytes::new(number);
        proptest::prop_assert_eq!(bytes.to_string().parse(), Ok(bytes));
        let seconds = Seconds::new(std::time::Duration::from_millis(number));
        proptest::prop_assert_eq!(seconds.to_string().parse(), Ok(seconds));
    }

    #[test]
    fn no_text_breaks_the_parsers(text: String) {
        let _: (Result<Bytes, _>, Result<Seconds, _>) = (text.parse(), text.parse());
        let _: (Result<HttpListen, _>, Result<Secret, _>) = (text.parse(), text.parse());
    }
}
