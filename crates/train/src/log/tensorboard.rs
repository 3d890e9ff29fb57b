//! TensorBoard's event files.
//!
//! ```text
//! record   length (8)  masked crc of it (4)  bytes  masked crc of them (4)
//! event    1: wall time (double)   2: step   3: version (first event)   5: summary
//! summary  1: value { 1: tag   2: number (float) }
//!          or       { 1: tag   8: tensor { 1: 7 (string)  8: text }   9: { 1: { 1: "text" } } }
//! ```

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::crc32c::masked;

/// An event file that grows.
pub(super) struct Events {
    out: BufWriter<File>,
}

impl Events {
    /// A new file in `folder`, named by the time.
    pub(super) fn create(folder: &Path, now_s: f64) -> io::Result<Events> {
        std::fs::create_dir_all(folder)?;
        let seconds = now_s as u64;
        let name = format!("events.out.tfevents.{seconds:010}.ruminate.{}", std::process::id());
        let mut events = Events { out: BufWriter::new(File::create(folder.join(name))?) };
        let mut event = Vec::new();
        double(&mut event, 1, now_s);
        bytes(&mut event, 3, b"brain.Event:2");
        events.record(&event)?;
        Ok(events)
    }

    /// Numbers and texts of a step.
    pub(super) fn write(
        &mut self,
        step: u64,
        now_s: f64,
        numbers: &[(String, f64)],
        texts: &[(&str, String)],
    ) -> io::Result<()> {
        let mut summary = Vec::new();
        for (tag, number) in numbers {
            let mut value = Vec::new();
            bytes(&mut value, 1, tag.as_bytes());
            float(&mut value, 2, *number as f32);
            bytes(&mut summary, 1, &value);
        }
        for (tag, text) in texts {
            let (mut value, mut tensor, mut plugin, mut metadata) = <_>::default();
            bytes(&mut value, 1, tag.as_bytes());
            varint(&mut tensor, 1, 7);
            bytes(&mut tensor, 8, text.as_bytes());
            bytes(&mut value, 8, &tensor);
            bytes(&mut plugin, 1, b"text");
            bytes(&mut metadata, 1, &plugin);
            bytes(&mut value, 9, &metadata);
            bytes(&mut summary, 1, &value);
        }
        let mut event = Vec::new();
        double(&mut event, 1, now_s);
        varint(&mut event, 2, step);
        bytes(&mut event, 5, &summary);
        self.record(&event)
    }

    fn record(&mut self, event: &[u8]) -> io::Result<()> {
        let length = (event.len() as u64).to_le_bytes();
        self.out.write_all(&length)?;
        self.out.write_all(&masked(&length).to_le_bytes())?;
        self.out.write_all(event)?;
        self.out.write_all(&masked(event).to_le_bytes())?;
        self.out.flush()
    }
}

/// Field number and kind, then the number, seven bits a byte.
fn varint(out: &mut Vec<u8>, field: u32, value: u64) {
    plain_varint(out, u64::from(field << 3));
    plain_varint(out, value);
}

fn plain_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn double(out: &mut Vec<u8>, field: u32, value: f64) {
    plain_varint(out, u64::from(field << 3 | 1));
    out.extend(value.to_le_bytes());
}

fn float(out: &mut Vec<u8>, field: u32, value: f32) {
    plain_varint(out, u64::from(field << 3 | 5));
    out.extend(value.to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    plain_varint(out, u64::from(field << 3 | 2));
    plain_varint(out, value.len() as u64);
    out.extend(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields of a message: number and bytes, or the number's own.
    fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
        let mut fields = Vec::new();
        let varint = |bytes: &mut &[u8]| {
            let (mut value, mut shift) = (0, 0);
            loop {
                let byte = bytes[0];
                *bytes = &bytes[1..];
                value |= u64::from(byte & 0x7F) << shift;
                shift += 7;
                if byte < 0x80 {
                    return value;
                }
            }
        };
        while !bytes.is_empty() {
            let key = varint(&mut bytes);
            let length = match key & 7 {
                0 => {
                    let value = varint(&mut bytes);
                    fields.push((key >> 3, value.to_le_bytes().to_vec()));
                    continue;
                }
                1 => 8,
                5 => 4,
                _ => varint(&mut bytes) as usize,
            };
            fields.push((key >> 3, bytes[..length].to_vec()));
            bytes = &bytes[length..];
        }
        fields
    }

    /// The events of a file, each checksum compared.
    fn events(path: &Path) -> Vec<Vec<(u64, Vec<u8>)>> {
        let bytes = std::fs::read(path).unwrap();
        let mut rest = bytes.as_slice();
        let mut events = Vec::new();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            assert_eq!(rest[8..12], masked(&rest[..8]).to_le_bytes());
            let event = &rest[12..][..length];
            assert_eq!(rest[12 + length..][..4], masked(event).to_le_bytes());
            events.push(fields(event));
            rest = &rest[16 + length..];
        }
        events
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = Events::create(folder.path(), 1e9).unwrap();
        let numbers = [("reward/math".to_string(), 0.5), ("loss".to_string(), -2.0)];
        file.write(300, 1e9 + 1.0, &numbers, &[("samples", "a <b>".into())]).unwrap();
        drop(file);
        let path = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        assert!(path.file_name().unwrap().to_str().unwrap().starts_with("events.out.tfevents.1"));
        let events = events(&path);
        assert_eq!(events.len(), 2);
        assert_eq!(events[0][1], (3, b"brain.Event:2".to_vec()));
        assert_eq!(events[1][1], (2, 300_u64.to_le_bytes().to_vec()));
        let summary = fields(&events[1][2].1);
        assert_eq!((events[1][2].0, summary.len()), (5, 3));
        let first = fields(&summary[0].1);
        assert_eq!(first[0], (1, b"reward/math".to_vec()));
        assert_eq!(first[1], (2, 0.5_f32.to_le_bytes().to_vec()));
        let text = fields(&summary[2].1);
        assert_eq!(text.iter().map(|field| field.0).collect::<Vec<_>>(), [1, 8, 9]);
        assert_eq!(fields(&text[1].1)[1], (8, b"a <b>".to_vec()));
    }
}
