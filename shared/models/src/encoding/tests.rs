use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

use super::*;

const TEXT: &[u8] = b"data: one\n\ndata: two\n\n";

/// A stream of two pieces, each of which is sent as soon as it is there.
fn pieces<E: Write>(mut encoder: E, sent: impl Fn(&mut E) -> &mut Vec<u8>) -> [Vec<u8>; 2] {
    let (first, second) = TEXT.split_at(11);
    [first, second].map(|piece| {
        encoder.write_all(piece).unwrap();
        encoder.flush().unwrap();
        std::mem::take(sent(&mut encoder))
    })
}

#[test]
fn each_piece_is_read_as_soon_as_it_comes() {
    let level = Compression::default();
    let streams = [
        (
            "gzip",
            pieces(GzEncoder::new(Vec::new(), level), |encoder| encoder.get_mut()),
        ),
        (
            "deflate",
            pieces(ZlibEncoder::new(Vec::new(), level), |encoder| encoder.get_mut()),
        ),
        (
            "deflate",
            pieces(DeflateEncoder::new(Vec::new(), level), |encoder| encoder.get_mut()),
        ),
        ("", [TEXT[..11].to_vec(), TEXT[11..].to_vec()]),
    ];
    for (name, [first, second]) in streams {
        let mut decoder = Decoder::of(name).unwrap();
        assert_eq!(decoder.decode(&first).unwrap(), b"data: one\n\n", "{name}");
        assert_eq!(decoder.decode(&second).unwrap(), b"data: two\n\n", "{name}");
        let mut decoder = Decoder::of(name).unwrap();
        let bytes = [first, second].concat();
        let read: Vec<u8> = bytes.chunks(1).flat_map(|byte| decoder.decode(byte).unwrap()).collect();
        assert_eq!(read, TEXT, "{name} byte by byte");
    }
}

#[test]
fn brotli_is_read() {
    // As node.js writes it: not compressed, between a head and an end.
    let bytes = [&[0x8b, 0x0a, 0x80][..], TEXT, &[0x03]].concat();
    let mut decoder = Decoder::of("br").unwrap();
    assert_eq!(decoder.decode(&bytes).unwrap(), TEXT);
}

#[test]
fn what_is_not_compressed_as_it_says_is_an_error_and_no_panic() {
    for name in ["gzip", "deflate", "br"] {
        assert!(Decoder::of(name).unwrap().decode(&[0xff; 64]).is_err(), "{name}");
    }
    assert!(Decoder::of("lzma").is_none());
}
