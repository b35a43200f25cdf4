//! What holds for every command: where the cluster is, how long to wait, how to print.
//!
//! Each setting comes from its flag, else from `CONCLAVECTL_<NAME>`, else from `ETCDCTL_<NAME>`,
//! else from its default. A value that makes no sense is refused with the name of where it came
//! from.

use crate::{
    discovery::endpoints_of,
    failure::{Failure, Result},
    output::{Format, Output, style},
    parse, password,
};
use clap::{Args, ValueEnum};
use conclave_client::{Credentials, Dialer, Login, Tls};
use std::{path::PathBuf, time::Duration};

/// The flags of every command.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// Members to talk to, separated by commas; the first that answers is used
    /// [default: 127.0.0.1:2379]
    #[arg(long, global = true, value_name = "HOST:PORT,...", value_delimiter = ',')]
    endpoints: Option<Vec<String>>,
    /// How long to look for a member that answers [default: 2s]
    #[arg(long, global = true, value_name = "TIME", value_parser = parse::duration)]
    dial_timeout: Option<Duration>,
    /// How long a call may take once a member was found [default: 5s]
    #[arg(long, global = true, value_name = "TIME", value_parser = parse::duration)]
    command_timeout: Option<Duration>,
    /// How to print [default: simple]
    #[arg(short = 'w', long = "write-out", global = true, value_name = "FORMAT")]
    #[arg(visible_alias = "output", visible_short_alias = 'o')]
    write_out: Option<Format>,
    /// Print byte strings in hexadecimal (simple format), and ids of members (json)
    #[arg(long, global = true)]
    hex: bool,
    /// Tell on standard error what is being done
    #[arg(long, global = true)]
    debug: bool,
    /// The authorities that members' certificates are verified by (PEM)
    /// [default: those of the system]
    #[arg(long, global = true, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// The certificate that is shown to members, with its chain (PEM); needs --key
    #[arg(long, global = true, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// The private key of --cert (PEM)
    #[arg(id = "tls_key", long = "key", global = true, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Encrypt, but accept any member's certificate
    #[arg(long, global = true)]
    insecure_skip_tls_verify: bool,
    /// false: endpoints without http:// or https:// are encrypted. They are in any case with
    /// --cacert, --cert or --insecure-skip-tls-verify [default: true]
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    insecure_transport: Option<bool>,
    /// The user of all calls, as name or name:password; asks for a password that is not given
    #[arg(id = "login_user", long = "user", global = true, value_name = "NAME[:PASSWORD]")]
    user: Option<String>,
    /// The password of --user
    #[arg(id = "login_password", long = "password", global = true, value_name = "PASSWORD")]
    password: Option<String>,
    /// Colours: always, never, or on a terminal unless NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: clap::ColorChoice,
}

// etcdctl's flags that help, pages and completions leave out: for the connection, and the members'
// addresses from DNS. (A documentation comment would replace the description of the program in its
// help.)
#[derive(Args, Clone, Debug, Default)]
pub struct Hidden {
    /// The domain whose SRV records name the endpoints.
    #[arg(short = 'd', long, global = true, hide = true)]
    discovery_srv: Option<String>,
    /// Ends the names of these records, for several clusters in one domain.
    #[arg(long, global = true, hide = true)]
    discovery_srv_name: Option<String>,
    /// How often to ask whether the connection still stands.
    #[arg(long, global = true, hide = true, value_parser = parse::duration)]
    keepalive_time: Option<Duration>,
    /// How long to wait for the answer to that.
    #[arg(long, global = true, hide = true, value_parser = parse::duration)]
    keepalive_timeout: Option<Duration>,
    /// Whether records of endpoints without TLS count.
    #[arg(
        long,
        global = true,
        hide = true,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        action = clap::ArgAction::Set
    )]
    insecure_discovery: Option<bool>,
}

/// The settings of one run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// As given, without a scheme where none was given.
    pub endpoints: Vec<String>,
    /// How encrypted endpoints are verified, if that was said.
    pub tls: Option<Tls>,
    /// Who logs in, if anybody does.
    pub(crate) credentials: Option<Credentials>,
    pub login: Login,
    /// Makes connections to them.
    pub dialer: Dialer,
    pub dial_timeout: Duration,
    pub command_timeout: Duration,
    pub(crate) keepalive_time: Duration,
    pub(crate) keepalive_timeout: Duration,
    pub output: Output,
    pub(crate) debug: bool,
}

/// Reads an environment variable.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The variables of a setting, the first that is set counts.
fn variable(name: &str, lookup: Lookup<'_>) -> Option<(String, String)> {
    let names = [format!("CONCLAVECTL_{name}"), format!("ETCDCTL_{name}")];
    names.into_iter().find_map(|name| lookup(&name).filter(|value| !value.is_empty()).map(|value| (name, value)))
}

/// The flag's value, else the environment's, else the default.
fn choose<T>(
    flag: Option<T>,
    name: &str,
    lookup: Lookup<'_>,
    parse: impl Fn(&str) -> Result<T, String>,
    default: T,
) -> Result<T> {
    if let Some(value) = flag {
        return Ok(value);
    }
    match variable(name, lookup) {
        None => Ok(default),
        Some((name, value)) => parse(&value).map_err(|error| Failure::usage(format!("{name}: {error}"))),
    }
}

impl GlobalArgs {
    /// How to print.
    pub(crate) fn format(&self, lookup: Lookup<'_>) -> Result<Format> {
        let format = |text: &str| Format::from_str(text, false).map_err(|_| unknown_format(text));
        choose(self.write_out, "WRITE_OUT", lookup, format, Format::Simple)
    }

    /// Whether to colour.
    #[must_use]
    pub fn color(&self) -> clap::ColorChoice {
        self.color
    }
}

/// A truth value, as etcdctl reads it.
fn flag(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

impl GlobalArgs {
    /// The user and the password as they were given.
    fn login(&self, lookup: Lookup<'_>) -> Result<(Option<String>, Option<String>)> {
        let text = |text: &str| Ok(Some(text.to_owned()));
        let user = choose(self.user.clone().map(Some), "USER", lookup, text, None)?;
        let password = choose(self.password.clone().map(Some), "PASSWORD", lookup, text, None)?;
        Ok((user, password))
    }

    /// Whether the password has to be asked for.
    pub(crate) fn asks_for_password(&self, lookup: Lookup<'_>) -> bool {
        matches!(self.login(lookup), Ok((Some(user), None)) if !user.contains(':'))
    }

    /// Who makes the calls.
    fn credentials(&self, lookup: Lookup<'_>) -> Result<Option<Credentials>> {
        let (user, password) = self.login(lookup)?;
        let Some(user) = user else { return Ok(None) };
        let (user, password) = match (user.split_once(':'), password) {
            (_, Some(password)) => (user, password),
            (Some((user, password)), None) => (user.to_owned(), password.to_owned()),
            (None, None) => {
                let password = password::ask("Password: ")?;
                (user, password)
            }
        };
        if user.is_empty() {
            return Err(Failure::usage("--user: the name is empty".to_owned()));
        }
        Ok(Some(Credentials::new(user, password)))
    }

    /// How encrypted endpoints are verified, if anything was said about that.
    fn tls(&self, lookup: Lookup<'_>) -> Result<Option<Tls>> {
        let path = |text: &str| Ok(Some(PathBuf::from(text)));
        let file = |flag: &Option<PathBuf>, name| choose(flag.clone().map(Some), name, lookup, path, None);
        let (ca, cert, key) = (file(&self.cacert, "CACERT")?, file(&self.cert, "CERT")?, file(&self.key, "KEY")?);
        let skip = self.insecure_skip_tls_verify.then_some(true);
        let skip = choose(skip, "INSECURE_SKIP_TLS_VERIFY", lookup, flag, false)?;
        let plain = choose(self.insecure_transport, "INSECURE_TRANSPORT", lookup, flag, true)?;
        if plain && !skip && ca.is_none() && cert.is_none() && key.is_none() {
            return Ok(None);
        }
        let mut tls = Tls::new();
        if let Some(ca) = ca {
            tls = tls.ca_file(ca);
        }
        tls = match (cert, key) {
            (Some(cert), Some(key)) => tls.identity_files(cert, key),
            (None, None) => tls,
            (Some(_), None) => return Err(Failure::usage("--cert needs its private key: --key FILE".to_owned())),
            (None, Some(_)) => return Err(Failure::usage("--key needs its certificate: --cert FILE".to_owned())),
        };
        Ok(Some(if skip { tls.skip_verify() } else { tls }))
    }
}

impl Hidden {
    /// The endpoints that DNS names, if it is to be asked; they go before those that are given
    /// otherwise.
    fn discovered(&self, lookup: Lookup<'_>) -> Result<Vec<String>> {
        let text = |text: &str| Ok(text.to_owned());
        let domain = choose(self.discovery_srv.clone(), "DISCOVERY_SRV", lookup, text, String::new())?;
        if domain.is_empty() {
            return Ok(Vec::new());
        }
        let name = choose(self.discovery_srv_name.clone(), "DISCOVERY_SRV_NAME", lookup, text, String::new())?;
        let insecure = choose(self.insecure_discovery, "INSECURE_DISCOVERY", lookup, flag, true)?;
        endpoints_of(&domain, &name, insecure)
    }
}

impl Settings {
    /// From flags and environment.
    ///
    /// # Errors
    /// A value makes no sense, or asks for what is not implemented.
    pub fn new(args: &GlobalArgs, hidden: &Hidden, lookup: Lookup<'_>) -> Result<Self> {
        let seconds = Duration::from_secs;
        let list = |text: &str| Ok(text.split(',').map(str::to_owned).collect());
        let endpoints = vec!["127.0.0.1:2379".to_owned()];
        let endpoints = choose(args.endpoints.clone(), "ENDPOINTS", lookup, list, endpoints)?;
        let endpoints = match hidden.discovered(lookup)? {
            found if found.is_empty() => endpoints,
            found => found,
        };
        let endpoints: Vec<String> = endpoints.iter().map(|text| endpoint(text)).collect::<Result<_>>()?;
        let tls = args.tls(lookup)?;
        let credentials = args.credentials(lookup)?;
        let login = Login::new(credentials.clone());
        let settings = Self {
            dialer: Dialer::new(tls.as_ref(), &endpoints)
                .map_err(|error| {
                    let hint = "--cacert, --cert and --key (or CONCLAVECTL_CACERT, CONCLAVECTL_CERT and CONCLAVECTL_KEY) name the files";
                    Failure::usage(error.message().to_owned()).hint(hint)
                })?
                .with_login(&login),
            credentials,
            login,
            tls,
            endpoints,
            dial_timeout: choose(args.dial_timeout, "DIAL_TIMEOUT", lookup, parse::duration, seconds(2))?,
            command_timeout: choose(args.command_timeout, "COMMAND_TIMEOUT", lookup, parse::duration, seconds(5))?,
            keepalive_time: choose(hidden.keepalive_time, "KEEPALIVE_TIME", lookup, parse::duration, seconds(2))?,
            keepalive_timeout: choose(
                hidden.keepalive_timeout,
                "KEEPALIVE_TIMEOUT",
                lookup,
                parse::duration,
                seconds(6),
            )?,
            output: Output {
                format: args.format(lookup)?,
                hex: choose(args.hex.then_some(true), "HEX", lookup, flag, false)?,
                color: style::on_stdout(),
            },
            debug: choose(args.debug.then_some(true), "DEBUG", lookup, flag, false)?,
        };
        for (name, time) in [("--dial-timeout", settings.dial_timeout), ("--command-timeout", settings.command_timeout)]
        {
            if time.is_zero() {
                return Err(Failure::usage(format!("{name}: nothing can be done in no time; 2s is usual")));
            }
        }
        Ok(settings)
    }
}

/// Another cluster than the one that the global options name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remote {
    pub(crate) endpoints: Vec<String>,
    pub(crate) cacert: Option<PathBuf>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) insecure_transport: Option<bool>,
    pub(crate) insecure_skip_tls_verify: bool,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
}

impl Settings {
    /// The same settings for other endpoints.
    pub(crate) fn elsewhere(&self, endpoints: Vec<String>) -> Result<Self> {
        let endpoints: Vec<String> = endpoints.iter().map(|text| endpoint(text)).collect::<Result<_>>()?;
        let login = Login::new(self.credentials.clone());
        let dialer = Dialer::new(self.tls.as_ref(), &endpoints)
            .map_err(|error| Failure::usage(error.message().to_owned()))?
            .with_login(&login);
        Ok(Self { endpoints, login, dialer, ..self.clone() })
    }

    /// The settings for another cluster. Times and output stay; endpoints, TLS and user are the
    /// other one's alone, whatever the environment says.
    pub(crate) fn remote(&self, remote: Remote) -> Result<Self> {
        let args = GlobalArgs {
            endpoints: Some(remote.endpoints),
            dial_timeout: Some(self.dial_timeout),
            command_timeout: Some(self.command_timeout),
            write_out: Some(self.output.format),
            hex: self.output.hex,
            debug: self.debug,
            cacert: remote.cacert,
            cert: remote.cert,
            key: remote.key,
            insecure_skip_tls_verify: remote.insecure_skip_tls_verify,
            insecure_transport: remote.insecure_transport,
            user: remote.user,
            password: remote.password,
            color: clap::ColorChoice::Auto,
        };
        let hidden = Hidden {
            keepalive_time: Some(self.keepalive_time),
            keepalive_timeout: Some(self.keepalive_timeout),
            ..Hidden::default()
        };
        Self::new(&args, &hidden, &|_| None)
    }
}

fn unknown_format(text: &str) -> String {
    format!("unsupported output format {text:?}; there are simple, table, json, fields, protobuf")
}

/// An endpoint as it is used: `http://`, `https://` or nothing before host and port, or `unix://`
/// and the path of a socket.
fn endpoint(text: &str) -> Result<String> {
    let text = text.trim();
    let wrong = |why: &str| {
        Err(Failure::usage(format!("endpoint {text:?}: {why}"))
            .hint("give endpoints as host:port, for example --endpoints 10.0.0.1:2379,10.0.0.2:2379"))
    };
    if text.is_empty() {
        return wrong("it is empty");
    }
    if let Some(path) = text.strip_prefix("unix://") {
        return if path.is_empty() { wrong("the path of the socket is missing") } else { Ok(text.to_owned()) };
    }
    let address = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let address = address.unwrap_or(text).trim_end_matches('/');
    if address.contains("://") {
        return wrong("only http://, https:// and unix:// are known");
    }
    let Some((host, port)) = address.rsplit_once(':') else {
        return wrong("the port is missing; clients are served on 2379 unless the members say otherwise");
    };
    if host.is_empty() || host.contains(['/', ' ', '@', '?', '#']) || (host.contains(':') && !host.starts_with('[')) {
        return wrong("the host makes no sense");
    }
    if port.parse::<u16>().ok().is_none_or(|port| port == 0) {
        return wrong("the port must be a number from 1 to 65535");
    }
    Ok(text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> GlobalArgs {
        GlobalArgs {
            endpoints: None,
            dial_timeout: None,
            command_timeout: None,
            write_out: None,
            hex: false,
            debug: false,
            cacert: None,
            cert: None,
            key: None,
            insecure_skip_tls_verify: false,
            insecure_transport: None,
            user: None,
            password: None,
            color: clap::ColorChoice::Never,
        }
    }

    fn with(env: &[(&str, &str)], args: &GlobalArgs) -> Result<Settings> {
        let env: Vec<(String, String)> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Settings::new(args, &Hidden::default(), &|name| env.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()))
    }

    #[test]
    fn flag_then_own_variable_then_etcdctls_then_default() {
        let args = defaults();
        assert_eq!(with(&[], &args).expect("defaults").endpoints, ["127.0.0.1:2379"]);
        let both = [("CONCLAVECTL_ENDPOINTS", "a:1,b:2"), ("ETCDCTL_ENDPOINTS", "c:3")];
        assert_eq!(with(&both[1..], &args).expect("etcdctl's").endpoints, ["c:3"]);
        assert_eq!(with(&both, &args).expect("own").endpoints, ["a:1", "b:2"]);
        let flag = GlobalArgs { endpoints: Some(vec!["http://d:4/".into()]), ..defaults() };
        assert_eq!(with(&both, &flag).expect("flag").endpoints, ["http://d:4"]);
        let more = with(&[("ETCDCTL_WRITE_OUT", "json"), ("ETCDCTL_HEX", "true")], &args).expect("well-formed");
        assert_eq!((more.output.format, more.output.hex), (Format::Json, true));
    }

    #[test]
    fn another_cluster_has_settings_of_its_own() {
        let ours =
            with(&[("ETCDCTL_USER", "a:b"), ("ETCDCTL_COMMAND_TIMEOUT", "9s")], &defaults()).expect("well-formed");
        let remote = Remote { endpoints: vec!["x:1".into()], ..Remote::default() };
        let theirs = ours.remote(remote.clone()).expect("well-formed");
        assert_eq!((&theirs.endpoints[..], theirs.command_timeout), (&["x:1".to_owned()][..], Duration::from_secs(9)));
        assert!(ours.credentials.is_some() && theirs.credentials.is_none() && theirs.tls.is_none());
        let with_user = ours.remote(Remote { user: Some("c:d".into()), ..remote }).expect("well-formed");
        assert!(with_user.credentials.is_some());
        assert_eq!(
            ours.remote(Remote { endpoints: vec!["x".into()], ..Remote::default() }).expect_err("no port").exit.code(),
            128
        );
    }

    #[test]
    fn what_is_encrypted() {
        let scheme = |settings: &Settings, text: &str| {
            settings.dialer.endpoint(text).expect(text).uri().scheme_str().map(str::to_owned)
        };
        let args = defaults();
        let plain = with(&[], &args).expect("defaults");
        assert_eq!(scheme(&plain, "a:1").as_deref(), Some("http"));
        let skip = with(&[("ETCDCTL_INSECURE_SKIP_TLS_VERIFY", "true")], &args).expect("well-formed");
        assert_eq!(scheme(&skip, "a:1").as_deref(), Some("https"));
        assert_eq!(scheme(&skip, "http://a:1").as_deref(), Some("http"));
        let flag = GlobalArgs { insecure_skip_tls_verify: true, insecure_transport: Some(true), ..defaults() };
        assert_eq!(scheme(&with(&[], &flag).expect("flags"), "a:1").as_deref(), Some("https"));
    }

    #[test]
    fn refusals_name_their_source() {
        let args = defaults();
        for (name, value, says) in [
            ("ETCDCTL_DIAL_TIMEOUT", "soon", "ETCDCTL_DIAL_TIMEOUT: \"soon\" is not a time"),
            ("CONCLAVECTL_WRITE_OUT", "xml", "CONCLAVECTL_WRITE_OUT: unsupported output format"),
            ("ETCDCTL_HEX", "perhaps", "ETCDCTL_HEX"),
            ("ETCDCTL_CACERT", "/no/ca.pem", "/no/ca.pem: no such file"),
            ("ETCDCTL_CERT", "/no/a.pem", "--cert needs its private key"),
            ("ETCDCTL_KEY", "/no/a.key", "--key needs its certificate"),
            ("ETCDCTL_INSECURE_TRANSPORT", "perhaps", "ETCDCTL_INSECURE_TRANSPORT"),
            ("ETCDCTL_USER", ":x", "--user: the name is empty"),
            ("ETCDCTL_ENDPOINTS", "a", "port is missing"),
            ("ETCDCTL_ENDPOINTS", "a:x", "number from 1"),
            ("ETCDCTL_ENDPOINTS", "a:0", "number from 1"),
            ("ETCDCTL_ENDPOINTS", ":2379", "host makes no sense"),
            ("ETCDCTL_ENDPOINTS", "a:1,", "it is empty"),
            ("ETCDCTL_ENDPOINTS", "ftp://a:1", "only http://"),
            ("ETCDCTL_COMMAND_TIMEOUT", "0s", "nothing can be done in no time"),
        ] {
            let failure = with(&[(name, value)], &args).expect_err(value);
            assert!(failure.to_string().contains(says), "{name}={value}: {failure}");
            assert_eq!(failure.exit.code(), 128);
        }
    }
}
