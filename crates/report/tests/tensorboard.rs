//! Event files, read back by a parser that shares nothing with the writer but the checksum, which
//! is itself checked against published values.

use std::fs;

use tabpo_report::{EventWriter, Record, Scalar, masked_crc32c};

/// Fields of a protobuf message: number and payload (varints as eight bytes).
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let length = match key & 7 {
            0 => {
                found.push((key >> 3, varint(&mut bytes).to_le_bytes().to_vec()));
                continue;
            }
            1 => 8,
            2 => varint(&mut bytes) as usize,
            5 => 4,
            other => panic!("wire type {other}"),
        };
        found.push((key >> 3, bytes[..length].to_vec()));
        bytes = &bytes[length..];
    }
    found
}

fn events(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut events = Vec::new();
    while !bytes.is_empty() {
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let crc = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!(crc(8), masked_crc32c(&bytes[..8]));
        assert_eq!(crc(12 + length), masked_crc32c(&bytes[12..12 + length]));
        events.push(bytes[12..12 + length].to_vec());
        bytes = &bytes[16 + length..];
    }
    events
}

#[test]
fn the_checksum_is_the_published_one() {
    // RFC 3720 B.4 gives crc32c of 32 zero bytes as 0x8a9136aa; masking as in TFRecord files.
    let masked = 0x8a91_36aa_u32.rotate_right(15).wrapping_add(0xa282_ead8);
    assert_eq!(masked_crc32c(&[0; 32]), masked);
    // The length field of a 24-byte record, as it stands in event files of TensorFlow.
    assert_eq!(masked_crc32c(&24u64.to_le_bytes()), 0x224b_7fa3);
}

#[test]
fn scalars_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = EventWriter::create(directory.path(), 1_700_000_000.5).unwrap();
    writer.write(300, 1_700_000_001.25, &[Scalar { tag: "sft/loss".into(), value: 0.75 }]).unwrap();
    let record =
        Record::new("preference", &serde_json::json!({"step": 7, "margin": -1.5, "share": {"span": 0.5}, "name": "x"}));
    writer.write_record(&record.unwrap(), 3.0).unwrap();
    writer.write_record(&Record::new("evaluation", &serde_json::json!({"ner": 0.5})).unwrap(), 4.0).unwrap();
    writer.flush().unwrap();
    assert_eq!(writer.path().file_name().unwrap(), "events.out.tfevents.1700000000.tabpo");

    let events = events(&fs::read(writer.path()).unwrap());
    assert_eq!(events.len(), 3);
    assert_eq!(fields(&events[0])[1], (3, b"brain.Event:2".to_vec()));
    let first = fields(&events[1]);
    assert_eq!(first[0], (1, 1_700_000_001.25f64.to_le_bytes().to_vec()));
    assert_eq!(first[1], (2, 300u64.to_le_bytes().to_vec()));
    let values = |event: &[u8]| -> Vec<(String, f32)> {
        let summary = fields(event).into_iter().find(|(field, _)| *field == 5).unwrap().1;
        let value = |(_, bytes): (u64, Vec<u8>)| {
            let parts = fields(&bytes);
            let tag = String::from_utf8(parts[0].1.clone()).unwrap();
            (tag, f32::from_le_bytes(parts[1].1[..].try_into().unwrap()))
        };
        fields(&summary).into_iter().map(value).collect()
    };
    assert_eq!(values(&events[1]), [("sft/loss".to_owned(), 0.75)]);
    assert_eq!(values(&events[2]), [("preference/margin".to_owned(), -1.5), ("preference/share/span".to_owned(), 0.5)]);
}
