use super::frame::{BODY, DIGITS_END, MAX_LINE, OPENING, checksum};
use super::*;
use crate::metadata::{Capabilities, EntryRecord, ObjectRecord, Record, Share};
use crate::types::{
    Attributes, ContentId, ContentRef, ContentVersion, Cookie, DeviceNumbers, FileType, Fileid,
    Fsid, Name, ObjectId, ShareId, ShareName, SymlinkTarget, Timestamp,
};

const FSID: Fsid = Fsid(u64::MAX);

fn object(file_type: FileType) -> ObjectRecord {
    let content = ContentRef { id: ContentId::generate(), version: ContentVersion(-3) };
    ObjectRecord {
        attributes: Attributes {
            id: ObjectId::generate(),
            fileid: Fileid(i64::MAX as u64),
            fsid: FSID,
            file_type,
            mode: 0o7777,
            nlink: 3,
            uid: u32::MAX,
            gid: 0,
            size: i64::MAX as u64,
            used: if file_type == FileType::Regular { 12_288 } else { i64::MAX as u64 },
            atime: Timestamp(i64::MIN),
            mtime: Timestamp(i64::MAX),
            ctime: Timestamp(-1),
            rdev: match file_type {
                FileType::BlockDevice => DeviceNumbers { major: u32::MAX, minor: 7 },
                _ => DeviceNumbers::default(),
            },
            content: (file_type == FileType::Regular).then_some(content),
            mtime_version: 5,
            parent: file_type.is_directory().then(ObjectId::generate),
        },
        target: (file_type == FileType::Symlink)
            .then(|| SymlinkTarget::parse(b"\xff\"/\\\n").unwrap()),
        verifier: (file_type == FileType::Regular).then_some(u64::MAX),
    }
}

/// One of everything, with names that are text, need escapes, and are no UTF-8.
fn records() -> Vec<Record> {
    let mut records = vec![Record::Share(Share {
        id: ShareId(0),
        name: ShareName::parse("/export").unwrap(),
        root: ObjectId::generate(),
        fsid: FSID,
        chunk_size: 1 << 22,
        capabilities: Capabilities::default(),
    })];
    records
        .extend((1..=7).filter_map(FileType::from_number).map(|kind| Record::Object(object(kind))));
    let names: [&[u8]; 4] = [b"plain", b"quote\"back\\slash\n", "über".as_bytes(), &[0xff; 255]];
    records.extend(names.iter().zip(3..).map(|(name, cookie)| {
        Record::Entry(EntryRecord {
            directory: ObjectId::generate(),
            name: Name::parse(name).unwrap(),
            child: ObjectId::generate(),
            cookie: Cookie(cookie),
        })
    }));
    records
}

fn written(records: &[Record]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), "2026-01-31T12:00:00Z").unwrap();
    for record in records {
        writer.record(record).unwrap();
    }
    writer.finish().unwrap()
}

fn read(bytes: &[u8]) -> Result<Vec<Record>, ReadError> {
    let mut reader = Reader::new(bytes)?;
    std::iter::from_fn(|| reader.record().transpose()).collect()
}

/// The file again, with its lines treated so.
fn with_lines(bytes: &[u8], change: impl FnOnce(&mut Vec<String>)) -> Vec<u8> {
    let text = String::from_utf8(zstd::decode_all(bytes).unwrap()).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    change(&mut lines);
    zstd::encode_all((lines.join("\n") + "\n").as_bytes(), 3).unwrap()
}

fn refused_at(bytes: &[u8]) -> u64 {
    match read(bytes).unwrap_err() {
        ReadError::Line { line, .. } | ReadError::Cut { line, .. } => line,
        ReadError::Format(format) => panic!("format {format}"),
    }
}

#[test]
fn everything_survives_the_file() {
    let records = records();
    assert_eq!(read(&written(&records)).unwrap(), records);
    assert_eq!(read(&written(&[])).unwrap(), []);
}

#[test]
fn every_line_is_json() {
    let text = zstd::decode_all(&written(&records())[..]).unwrap();
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let value: serde_json::Value = serde_json::from_slice(line).unwrap();
        assert_eq!(value.as_object().unwrap().len(), 2, "{value}");
    }
}

#[test]
fn a_changed_line_is_named() {
    let bytes = written(&records());
    let change = |from: &str, to: &str, line: usize| {
        let (from, to) = (from.to_owned(), to.to_owned());
        with_lines(&bytes, move |lines| {
            assert!(lines[line - 1].contains(&from), "{}", lines[line - 1]);
            lines[line - 1] = lines[line - 1].replacen(&from, &to, 1);
        })
    };
    assert_eq!(refused_at(&change("/export", "/expert", 2)), 2);
    assert_eq!(refused_at(&change("plain", "plane", 10)), 10);
    assert_eq!(refused_at(&change("\"objects\":7", "\"objects\":8", 14)), 14);
    assert_eq!(refused_at(&change("{\"crc\"", "[\"crc\"", 5)), 5);
}

#[test]
fn a_lost_doubled_or_moved_line_is_named() {
    let bytes = written(&records());
    let lost = with_lines(&bytes, |lines| drop(lines.remove(4)));
    assert_eq!(refused_at(&lost), 5);
    let doubled = with_lines(&bytes, |lines| lines.insert(4, lines[3].clone()));
    assert_eq!(refused_at(&doubled), 5);
    let moved = with_lines(&bytes, |lines| lines.swap(4, 7));
    assert_eq!(refused_at(&moved), 5);
    let appended = with_lines(&bytes, |lines| lines.push(lines[3].clone()));
    assert_eq!(refused_at(&appended), 15);
}

#[test]
fn a_file_that_was_cut_is_refused() {
    let bytes = written(&records());
    for length in 0..bytes.len() {
        assert!(read(&bytes[..length]).is_err(), "cut to {length} of {} bytes", bytes.len());
    }
    let without_end = with_lines(&bytes, |lines| drop(lines.pop()));
    assert_eq!(refused_at(&without_end), 13);
}

#[test]
fn no_flipped_bit_goes_unnoticed() {
    let records = records();
    let bytes = written(&records);
    for index in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[index] ^= 0x10;
        // A bit of the compressed frame's header may mean nothing.
        if let Ok(read) = read(&changed) {
            assert_eq!(read, records, "byte {index} of {}", bytes.len());
        }
    }
}

#[test]
fn another_format_and_other_files_are_refused() {
    let mut head =
        b"{\"crc\":\"00000000\",\"dump\":{\"format\":2,\"trunkfs\":\"9\",\"created\":\"\"}}"
            .to_vec();
    let crc = format!("{:08x}", checksum(0, &head[BODY..]));
    head[OPENING.len()..DIGITS_END].copy_from_slice(crc.as_bytes());
    head.push(b'\n');
    let bytes = zstd::encode_all(&head[..], 3).unwrap();
    assert!(matches!(read(&bytes).unwrap_err(), ReadError::Format(2)));
    assert_eq!(refused_at(b"no dump at all"), 0);
    assert_eq!(refused_at(&zstd::encode_all(&b"{\"a\":1}\n"[..], 3).unwrap()), 1);
    let endless = vec![b'x'; MAX_LINE + 10];
    assert_eq!(refused_at(&zstd::encode_all(&endless[..], 3).unwrap()), 1);
}
