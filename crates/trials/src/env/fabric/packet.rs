//! Just enough of IPv4 and TCP: where a packet goes, and the reset that tears its connection down.

/// The network of a run, the same in each: namespaces keep runs apart.
pub(crate) const NETWORK: [u8; 3] = [10, 77, 0];

const HEADER: usize = 20;
const TCP: u8 = 6;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// The last byte of the destination, if it is in the network.
pub(crate) fn destination(packet: &[u8]) -> Option<u8> {
    let ours = packet.len() >= HEADER && packet[0] >> 4 == 4 && packet[16..19] == NETWORK;
    ours.then(|| packet[19])
}

/// Resets for the receiver and for the sender of a packet of an established connection.
///
/// Both carry exactly the sequence number that their receiver waits for; any other is only
/// answered, not obeyed (RFC 5961).
pub(crate) fn resets(packet: &[u8]) -> Option<[Vec<u8>; 2]> {
    let ip = usize::from(packet.first()? & 15) * 4;
    let tcp = packet.get(ip..)?;
    if packet[9] != TCP || tcp.len() < HEADER || tcp[13] & ACK == 0 || tcp[13] & (FIN | SYN | RST) != 0 {
        return None;
    }
    let (from, to) = (&packet[12..16], &packet[16..20]);
    let (from_port, to_port) = (&tcp[0..2], &tcp[2..4]);
    let (sequence, acknowledged) = (&tcp[4..8], &tcp[8..12]);
    Some([reset(from, to, from_port, to_port, sequence), reset(to, from, to_port, from_port, acknowledged)])
}

fn reset(from: &[u8], to: &[u8], from_port: &[u8], to_port: &[u8], sequence: &[u8]) -> Vec<u8> {
    let mut tcp = [from_port, to_port, sequence, &[0; 4], &[0x50, RST, 0, 0, 0, 0, 0, 0]].concat();
    let pseudo = [from, to, &[0, TCP, 0, 20], &tcp].concat();
    tcp[16..18].copy_from_slice(&checksum(&pseudo));
    let mut ip = [&[0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, TCP, 0, 0], from, to].concat();
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum);
    [ip, tcp].concat()
}

/// The internet checksum of an even number of bytes.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let mut sum: u32 = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let [_, _, high, low] = (!sum).to_be_bytes();
    [high, low]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_carry_the_awaited_numbers_and_right_checksums() {
        let (a, b) = ([10, 77, 0, 1], [10, 77, 0, 2]);
        let mut packet = reset(&a, &b, &[1, 2], &[3, 4], &[0, 0, 0, 9]);
        assert!(resets(&packet).is_none(), "a reset is not answered by resets");
        packet[20 + 13] = ACK;
        packet[20 + 8..20 + 12].copy_from_slice(&[0, 0, 0, 7]);
        let [to_b, to_a] = resets(&packet).expect("a packet of a connection");
        assert_eq!((destination(&to_b), destination(&to_a)), (Some(2), Some(1)));
        assert_eq!((&to_b[24..28], &to_a[24..28]), (&[0, 0, 0, 9][..], &[0, 0, 0, 7][..]));
        for packet in [to_b, to_a] {
            // A sum over data and its checksum is zero.
            assert_eq!(checksum(&packet[..20]), [0, 0]);
            let pseudo = [&packet[12..20], &[0, TCP, 0, 20], &packet[20..]].concat();
            assert_eq!(checksum(&pseudo), [0, 0]);
        }
        assert_eq!(destination(&[0x60; 40]), None);
    }
}
