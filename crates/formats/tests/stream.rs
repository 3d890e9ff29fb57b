//! Parts of files read while others work: the same bytes by every method.

#![expect(clippy::unwrap_used, reason = "a test stops where a file fails it")]

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use ruminate_formats::{Error, Extent, Method, ReadBuffer, Stream};

/// Two files of odd lengths.
fn files() -> (tempfile::TempDir, Vec<Arc<Path>>, Vec<Vec<u8>>) {
    let folder = tempfile::tempdir().unwrap();
    let contents: Vec<Vec<u8>> = [100_003, 5_000]
        .iter()
        .map(|&len| (0..len).map(|i: usize| (i * 31 % 251) as u8).collect())
        .collect();
    let paths = contents.iter().enumerate().map(|(i, content)| {
        let path = folder.path().join(format!("part-{i}"));
        fs::write(&path, content).unwrap();
        Arc::from(path)
    });
    let paths = paths.collect();
    (folder, paths, contents)
}

/// Both methods; io_uring only where the system has it.
fn streams(paths: &[Arc<Path>], depth: usize) -> Vec<Stream> {
    let threads = Stream::open_with(paths, depth, Method::Threads).unwrap();
    assert_eq!(threads.method(), Method::Threads);
    let mut streams = vec![threads];
    streams.extend(Stream::open_with(paths, depth, Method::IoUring));
    streams
}

#[test]
fn what_is_read_is_what_the_files_hold() {
    let (_folder, paths, contents) = files();
    for mut stream in streams(&paths, 4) {
        let readings: Vec<Vec<Extent>> = (0..12)
            .map(|i| {
                vec![
                    Extent { file: 0, offset: i * 7919, len: 4096 + i as usize },
                    Extent { file: 1, offset: 4900 - i, len: 100 + i as usize },
                    // The last bytes of a file, where a sector is short.
                    Extent { file: 0, offset: 100_003 - 10 - i, len: 10 + i as usize },
                ]
            })
            .collect();
        for (ticket, extents) in readings.iter().enumerate() {
            let buffer = ReadBuffer::new(ReadBuffer::room_for(extents));
            stream.submit(ticket as u64, buffer, extents);
        }
        assert_eq!(stream.n_submitted(), readings.len());
        let mut seen = vec![false; readings.len()];
        while let Some(finished) = stream.next(true) {
            finished.outcome.unwrap();
            assert!(!std::mem::replace(&mut seen[finished.ticket as usize], true));
            for (i, extent) in readings[finished.ticket as usize].iter().enumerate() {
                let from = extent.offset as usize;
                let expected = &contents[extent.file][from..from + extent.len];
                assert_eq!(finished.buffer.part(i), expected, "{:?}", stream.method());
            }
        }
        assert!(seen.iter().all(|&seen| seen) && stream.n_submitted() == 0);
        assert!(stream.next(false).is_none());
    }
}

#[test]
fn a_file_that_became_shorter_is_an_error_and_the_buffer_comes_back() {
    let (_folder, paths, _) = files();
    for mut stream in streams(&paths, 2) {
        let content = fs::read(&paths[0]).unwrap();
        File::options().write(true).open(&paths[0]).unwrap().set_len(50_000).unwrap();
        let extents = [Extent { file: 0, offset: 49_000, len: 2_000 }];
        stream.submit(7, ReadBuffer::new(ReadBuffer::room_for(&extents)), &extents);
        let finished = stream.next(true).unwrap();
        assert_eq!(finished.ticket, 7);
        assert!(matches!(finished.outcome, Err(Error::Changed { .. })), "{:?}", finished.outcome);
        let whole = [Extent { file: 0, offset: 0, len: 8_000 }];
        stream.submit(8, finished.buffer, &whole);
        assert_eq!(stream.next(true).unwrap().buffer.part(0), &content[..8_000]);
        fs::write(&paths[0], &content).unwrap();
    }
}

#[test]
fn a_stream_can_be_dropped_while_it_reads() {
    let (_folder, paths, _) = files();
    for mut stream in streams(&paths, 8) {
        for ticket in 0..8 {
            let extents = [Extent { file: 0, offset: 0, len: 100_000 }];
            stream.submit(ticket, ReadBuffer::new(ReadBuffer::room_for(&extents)), &extents);
        }
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = Stream::open(&[Arc::from(Path::new("/nowhere/model"))], 1).err().unwrap();
    assert!(error.to_string().starts_with("/nowhere/model: cannot open: "), "{error}");
}
