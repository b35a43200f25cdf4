//! Ids as etcdctl writes them: leases and members in hexadecimal.

/// A lease or session.
pub(crate) fn lease(text: &str) -> Result<i64, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u64::from_str_radix(digits, 16)
        .map(u64::cast_signed)
        .map_err(|_| format!("bad lease ID {text:?}, expecting ID in Hex, as `lease grant` and `lease list` print it"))
}

/// A member.
pub(crate) fn member(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u64::from_str_radix(digits, 16)
        .map_err(|_| format!("bad member ID {text:?}, expecting ID in Hex, as `member list` prints it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_with_or_without_mark() {
        assert_eq!(lease("018c5aa060cca9bc"), Ok(0x018c_5aa0_60cc_a9bc));
        assert_eq!(lease("0x10"), Ok(16));
        assert_eq!(lease("ffffffffffffffff"), Ok(-1));
        assert!(lease("zz").is_err_and(|error| error.contains("in Hex")));
        assert!(member("1ffffffffffffffff").is_err());
    }
}
