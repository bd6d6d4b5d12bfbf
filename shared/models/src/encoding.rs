//! Takes a compressed body apart as it comes. We ask for none; some proxies compress all the same.

use std::fmt;
use std::io::{self, Write};

use brotli_decompressor::DecompressorWriter;
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// The work space of brotli.
const BROTLI_BUFFER_BYTES: usize = 4096;

pub(super) enum Decoder {
    Plain,
    Gzip(MultiGzDecoder<Vec<u8>>),
    /// Once its first bytes are there: some mean zlib's format by `deflate`, as the standard does, and some do not.
    UnknownDeflate(Vec<u8>),
    Zlib(ZlibDecoder<Vec<u8>>),
    Deflate(DeflateDecoder<Vec<u8>>),
    Brotli(Box<DecompressorWriter<Vec<u8>>>),
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decoder")
    }
}

impl Decoder {
    /// For the value of `content-encoding`. `None`: not one that we know.
    pub(super) fn of(encoding: &str) -> Option<Self> {
        Some(match encoding.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Self::Plain,
            "gzip" | "x-gzip" => Self::Gzip(MultiGzDecoder::new(Vec::new())),
            "deflate" => Self::UnknownDeflate(Vec::new()),
            "br" => Self::Brotli(Box::new(DecompressorWriter::new(Vec::new(), BROTLI_BUFFER_BYTES))),
            _ => return None,
        })
    }

    /// What these bytes hold, as far as it can be told by now.
    pub(super) fn decode(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Plain => Ok(bytes.to_vec()),
            Self::Gzip(decoder) => through(decoder, bytes, |decoder| decoder.get_mut()),
            Self::Zlib(decoder) => through(decoder, bytes, |decoder| decoder.get_mut()),
            Self::Deflate(decoder) => through(decoder, bytes, |decoder| decoder.get_mut()),
            Self::Brotli(decoder) => through(decoder.as_mut(), bytes, |decoder| decoder.get_mut()),
            Self::UnknownDeflate(begun) => {
                begun.extend_from_slice(bytes);
                let begun = match begun.as_slice() {
                    [] | [_] => return Ok(Vec::new()),
                    _ => std::mem::take(begun),
                };
                // The head of zlib's format is a multiple of 31.
                let is_zlib = begun[0] & 0x0f == 8 && u16::from_be_bytes([begun[0], begun[1]]) % 31 == 0;
                *self = if is_zlib {
                    Self::Zlib(ZlibDecoder::new(Vec::new()))
                } else {
                    Self::Deflate(DeflateDecoder::new(Vec::new()))
                };
                self.decode(&begun)
            }
        }
    }
}

fn through<D: Write>(decoder: &mut D, bytes: &[u8], out: fn(&mut D) -> &mut Vec<u8>) -> io::Result<Vec<u8>> {
    decoder.write_all(bytes)?;
    decoder.flush()?;
    Ok(std::mem::take(out(decoder)))
}

#[cfg(test)]
mod tests;
