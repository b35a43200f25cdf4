//! Questions for SRV records to the system's name servers (`/etc/resolv.conf`). The standard
//! library asks for addresses only.
//!
//! 1. An answer counts if it repeats the question and its random id. Other datagrams are ignored.
//! 2. An answer that does not fit into a datagram is asked for again over TCP.
//! 3. A name server that fails or does not answer in time is followed by the next one. That there
//!    is no such name is an answer.
//!
//! Calls block, for a bounded time.

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, RCODE, TYPE};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

const CONFIGURATION: &str = "/etc/resolv.conf";
const PORT: u16 = 53;
/// The largest datagram that is read; without extensions an answer has at most 512 bytes.
const DATAGRAM: usize = 4096;
/// More name servers than this are not asked, nor more often, nor longer, whatever the
/// configuration says.
const SERVERS: usize = 3;
const ATTEMPTS: u32 = 5;
const LONGEST: Duration = Duration::from_secs(30);

/// The system's name servers.
#[derive(Clone, Debug)]
pub struct Resolver {
    servers: Vec<SocketAddr>,
    patience: Duration,
    attempts: u32,
}

impl Resolver {
    /// As `/etc/resolv.conf` says; without that file, the name server of this machine.
    ///
    /// # Errors
    /// The file cannot be read, or is no such file.
    pub fn of_system() -> Result<Resolver, String> {
        let text = match std::fs::read(CONFIGURATION) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(format!("{CONFIGURATION} cannot be read: {error}")),
        };
        Self::configured(&text).map_err(|why| format!("{CONFIGURATION}: {why}"))
    }

    fn configured(text: &[u8]) -> Result<Resolver, String> {
        let config = resolv_conf::Config::parse(text).map_err(|error| error.to_string())?;
        let mut servers: Vec<_> =
            config.nameservers.iter().map(|server| SocketAddr::new(server.into(), PORT)).take(SERVERS).collect();
        if servers.is_empty() {
            servers.push((Ipv4Addr::LOCALHOST, PORT).into());
        }
        let patience = Duration::from_secs(config.timeout.into()).clamp(Duration::from_secs(1), LONGEST);
        Ok(Resolver { servers, patience, attempts: config.attempts.clamp(1, ATTEMPTS) })
    }

    /// The services of a name like `_etcd-server._tcp.example.org.`, as hosts and ports; none if
    /// there is no such name.
    ///
    /// # Errors
    /// No name server answers; the text says why for each.
    pub fn services(&self, name: &str) -> Result<Vec<(String, u16)>, String> {
        let id = rand::random();
        let question = question(name, id)?;
        let mut failed = Vec::new();
        for _ in 0..self.attempts {
            failed.clear();
            for server in &self.servers {
                match self.ask(*server, &question, id) {
                    Ok(Answer::Services(services)) => return Ok(services),
                    Ok(Answer::Refused(code)) => failed.push(format!("{server}: {code:?}")),
                    Ok(Answer::Truncated) => failed.push(format!("{server}: the answer is cut off")),
                    Err(error) => failed.push(format!("{server}: {error}")),
                }
            }
        }
        Err(failed.join("; "))
    }

    fn ask(&self, server: SocketAddr, question: &[u8], id: u16) -> io::Result<Answer> {
        match over_udp(server, question, id, Instant::now() + self.patience)? {
            Answer::Truncated => over_tcp(server, question, id, Instant::now() + self.patience),
            answer => Ok(answer),
        }
    }
}

fn question(name: &str, id: u16) -> Result<Vec<u8>, String> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(name.trim_end_matches('.')).map_err(|error| error.to_string())?;
    packet.questions.push(Question::new(name, TYPE::SRV.into(), CLASS::IN.into(), false));
    packet.build_bytes_vec().map_err(|error| error.to_string())
}

/// What a name server says.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// Hosts and ports; none if there is no such name.
    Services(Vec<(String, u16)>),
    /// It does not fit into a datagram.
    Truncated,
    /// It does not know, or does not tell.
    Refused(RCODE),
}

/// `None` if it is no answer to this question.
fn decode(bytes: &[u8], question: &[u8], id: u16) -> Option<Answer> {
    let (answer, asked) = (Packet::parse(bytes).ok()?, Packet::parse(question).ok()?);
    let same = |one: &Packet<'_>, other: &Packet<'_>| {
        let text = |packet: &Packet<'_>| packet.questions.first().map(|asked| asked.qname.to_string().to_lowercase());
        text(one) == text(other)
    };
    if answer.id() != id || !answer.has_flags(PacketFlag::RESPONSE) || !same(&answer, &asked) {
        return None;
    }
    if answer.has_flags(PacketFlag::TRUNCATION) {
        return Some(Answer::Truncated);
    }
    match answer.rcode() {
        RCODE::NoError | RCODE::NameError => {}
        code => return Some(Answer::Refused(code)),
    }
    let services = answer.answers.iter().filter_map(|record| match &record.rdata {
        RData::SRV(service) => Some((service.target.to_string(), service.port)),
        _ => None,
    });
    Some(Answer::Services(services.collect()))
}

/// The time that is left; a socket takes none of zero.
fn left(end: Instant) -> io::Result<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(late()) } else { Ok(left) }
}

fn late() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

/// A socket whose time is over says that it would block.
fn in_time(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { late() } else { error }
}

fn over_udp(server: SocketAddr, question: &[u8], id: u16, end: Instant) -> io::Result<Answer> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    // The system drops what comes from elsewhere.
    socket.connect(server)?;
    socket.send(question)?;
    let mut buffer = vec![0; DATAGRAM];
    loop {
        socket.set_read_timeout(Some(left(end)?))?;
        let length = socket.recv(&mut buffer).map_err(in_time)?;
        if let Some(answer) = decode(&buffer[..length], question, id) {
            return Ok(answer);
        }
    }
}

fn over_tcp(server: SocketAddr, question: &[u8], id: u16, end: Instant) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&server, left(end)?)?;
    stream.set_write_timeout(Some(left(end)?))?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], question].concat()).map_err(in_time)?;
    let mut length = [0; 2];
    fill(&mut stream, &mut length, end)?;
    let mut answer = vec![0; u16::from_be_bytes(length).into()];
    fill(&mut stream, &mut answer, end)?;
    decode(&answer, question, id).ok_or_else(|| io::Error::other("that is no answer to the question"))
}

/// Reads as much as there is room for, until that time.
fn fill(stream: &mut TcpStream, mut room: &mut [u8], end: Instant) -> io::Result<()> {
    while !room.is_empty() {
        stream.set_read_timeout(Some(left(end)?))?;
        match stream.read(room).map_err(in_time)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => room = &mut room[length..],
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use simple_dns::ResourceRecord;
    use simple_dns::rdata::SRV;
    use std::net::TcpListener;

    const PLAIN: &str = "_etcd-server._tcp.example.org.";

    fn answer(question: &[u8], cut: bool) -> Vec<u8> {
        let asked = Packet::parse(question).unwrap();
        let mut answer = Packet::new_reply(asked.id());
        let name = asked.questions[0].qname.clone();
        answer.questions.push(asked.questions[0].clone());
        match name.to_string().as_str() {
            "_etcd-server._tcp.example.org" if cut => answer.set_flags(PacketFlag::TRUNCATION),
            "_etcd-server._tcp.example.org" => {
                for host in ["one.example.org", "two.example.org"] {
                    let target = Name::new_unchecked(host);
                    let service = SRV { priority: 0, weight: 0, port: 2380, target };
                    answer.answers.push(ResourceRecord::new(name.clone(), CLASS::IN, 60, RData::SRV(service)));
                }
            }
            "_etcd-server._tcp.broken.org" => *answer.rcode_mut() = RCODE::ServerFailure,
            _ => *answer.rcode_mut() = RCODE::NameError,
        }
        answer.build_bytes_vec().unwrap()
    }

    /// A name server whose datagrams hold no answer with records, and come after others that are
    /// none.
    fn name_server() -> SocketAddr {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(address).unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 1_500];
            loop {
                let (length, from) = udp.recv_from(&mut buffer).unwrap();
                let mut stranger = answer(&buffer[..length], false);
                stranger[0] ^= 1;
                for datagram in [b"?".to_vec(), stranger, answer(&buffer[..length], true)] {
                    udp.send_to(&datagram, from).unwrap();
                }
            }
        });
        std::thread::spawn(move || {
            for stream in tcp.incoming() {
                let (mut stream, mut length) = (stream.unwrap(), [0; 2]);
                stream.read_exact(&mut length).unwrap();
                let mut question = vec![0; u16::from_be_bytes(length).into()];
                stream.read_exact(&mut question).unwrap();
                let answer = answer(&question, false);
                let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
                stream.write_all(&[&length[..], &answer].concat()).unwrap();
            }
        });
        address
    }

    #[test]
    fn a_name_server_is_asked_over_udp_and_then_over_tcp() {
        // Nobody listens at the first one.
        let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let servers = vec![nobody, name_server()];
        let resolver = Resolver { servers, patience: Duration::from_secs(10), attempts: 1 };
        let mut found = resolver.services(PLAIN).unwrap();
        found.sort();
        assert_eq!(found, [("one.example.org".to_owned(), 2380), ("two.example.org".to_owned(), 2380)]);
        assert_eq!(resolver.services("_etcd-server-ssl._tcp.example.org."), Ok(vec![]));
        let broken = resolver.services("_etcd-server._tcp.broken.org.").unwrap_err();
        assert!(broken.contains("ServerFailure"), "{broken}");
        assert!(resolver.services(&"a".repeat(300)).is_err());
    }

    #[test]
    fn a_name_server_that_does_not_answer_is_given_up() {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let servers = vec![silent.local_addr().unwrap()];
        let resolver = Resolver { servers, patience: Duration::from_millis(50), attempts: 2 };
        let error = resolver.services(PLAIN).unwrap_err();
        assert!(error.contains("timed out"), "{error}");
    }

    #[test]
    fn fuzz_dns_answer() {
        let asked = question(PLAIN, 7).unwrap();
        let seeds = [answer(&asked, false), answer(&asked, true), asked.clone()];
        let decoded = |bytes: &[u8]| format!("{:?}", decode(bytes, &asked, 7));
        conclave_fuzz::target!("dns_answer").seeds(seeds).run(decoded);
    }

    #[test]
    fn what_is_no_answer_to_the_question_is_none() {
        let asked = question(PLAIN, 7).unwrap();
        let good = answer(&asked, false);
        assert!(matches!(decode(&good, &asked, 7), Some(Answer::Services(found)) if found.len() == 2));
        assert_eq!(decode(&good, &asked, 8), None);
        assert_eq!(decode(&asked, &asked, 7), None, "a question is no answer");
        assert_eq!(decode(&good, &question("_other._tcp.example.org", 7).unwrap(), 7), None);
        for length in 0..good.len() {
            assert!(!matches!(decode(&good[..length], &asked, 7), Some(Answer::Services(_))), "{length}");
        }
    }

    #[test]
    fn the_system_says_whom_to_ask() {
        let resolver =
            Resolver::configured(b"nameserver 10.0.0.1\nnameserver fe80::1%2\noptions timeout:2 attempts:90\n");
        let resolver = resolver.unwrap();
        assert_eq!(resolver.servers[0], "10.0.0.1:53".parse().unwrap());
        assert_eq!((resolver.servers.len(), resolver.attempts), (2, ATTEMPTS));
        assert_eq!(resolver.patience, Duration::from_secs(2));
        assert_eq!(Resolver::configured(b"").unwrap().servers, ["127.0.0.1:53".parse().unwrap()]);
    }
}
