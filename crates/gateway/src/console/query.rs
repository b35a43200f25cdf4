//! The parameters of an address.

use std::str::FromStr;
use tonic::Status;

/// Names and values, decoded. Values may be any bytes.
pub(super) struct Query(Vec<(String, Vec<u8>)>);

impl Query {
    pub(super) fn parse(query: &str) -> Query {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Query(pairs.map(|(name, value)| (name.to_owned(), decoded(value))).collect())
    }

    /// Empty if it is not there.
    pub(super) fn bytes(&self, name: &str) -> &[u8] {
        self.0.iter().find(|(of, _)| of == name).map_or(&[], |(_, value)| value)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        !self.bytes(name).is_empty()
    }

    /// # Errors
    /// It is not text.
    pub(super) fn text(&self, name: &str) -> Result<String, Status> {
        String::from_utf8(self.bytes(name).to_vec())
            .map_err(|_| Status::invalid_argument(format!("the parameter {name} is no text")))
    }

    /// # Errors
    /// It is not a number of that kind.
    pub(super) fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, Status> {
        let text = self.text(name)?;
        if text.is_empty() {
            return Ok(None);
        }
        let number = text.parse().map_err(|_| Status::invalid_argument(format!("the parameter {name} is no number")));
        number.map(Some)
    }

    /// A lease in hexadecimal, as it is shown everywhere.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn lease(&self, name: &str) -> Result<Option<i64>, Status> {
        let text = self.text(name)?;
        if text.is_empty() {
            return Ok(None);
        }
        let id = u64::from_str_radix(&text, 16);
        let id = id.map_err(|_| Status::invalid_argument(format!("the parameter {name} is no lease in hexadecimal")));
        id.map(|id| Some(id.cast_signed()))
    }
}

/// What is not encoded well stays as it is.
fn decoded(value: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        let digit = |at: usize| behind.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &behind[2..];
            }
            (b'+', ..) => bytes.push(b' '),
            _ => bytes.push(*first),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzz_console_query() {
        let seeds = ["kind=queue&prefix=%00a%2f&after=+x", "id=7f&revision=-1", "%&=%=&&a=%zz"];
        conclave_fuzz::target!("console_query").seeds(seeds).run(|bytes| {
            let text = String::from_utf8_lossy(bytes);
            let query = Query::parse(&text);
            let longest = query.0.iter().map(|(_, value)| value.len()).max().unwrap_or_default();
            assert!(longest <= text.len(), "a value is never longer than what was sent");
            let (revision, id) = (query.number::<i64>("revision"), query.lease("id"));
            format!("{} {} {}", query.text("kind").is_ok(), revision.is_ok(), id.is_ok())
        });
    }

    #[test]
    fn parameters() {
        let query = Query::parse("a=b%20c+d%FF%0g%2&empty=&n=-7&a=second&flag&id=ffffffffffffffff");
        assert_eq!(query.bytes("a"), b"b c d\xff%0g%2");
        assert!(query.text("a").is_err() && query.number::<u64>("n").is_err() && query.lease("n").is_err());
        assert_eq!(query.number::<i64>("n").ok(), Some(Some(-7)));
        assert_eq!(query.lease("id").ok(), Some(Some(-1)));
        assert!(!query.has("empty") && !query.has("flag") && !query.has("none"));
        assert_eq!(query.number::<u64>("none").ok(), Some(None));
    }
}
