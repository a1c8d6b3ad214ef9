//! Pictures to upload, and the size of a picture that is returned.

const WIDTH: u32 = 512;
const HEIGHT: u32 = 384;

/// A size that every decoder should refuse.
const BOMB_SIDE: u32 = 60_000;

/// A picture of this user's own.
pub fn png(user: &str) -> Vec<u8> {
    let [red, green, blue, _] = crc32fast::hash(user.as_bytes()).to_le_bytes();
    let mut rows = Vec::new();
    for y in 0..HEIGHT {
        rows.push(NO_FILTER);
        for x in 0..WIDTH {
            let (x, y) = ((x / 2) as u8, (y / 2) as u8);
            rows.extend([red ^ x, green ^ y, blue ^ (x & y)]);
        }
    }
    file(WIDTH, HEIGHT, &rows)
}

/// A few bytes that claim to be 10 GB of pixels.
pub fn bomb() -> Vec<u8> {
    file(BOMB_SIDE, BOMB_SIDE, &[NO_FILTER; 1_000])
}

const NO_FILTER: u8 = 0;
const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// 8 bits for each of red, green and blue; the only compression and filters there are; not interlaced.
const FORMAT: [u8; 5] = [8, 2, 0, 0, 0];

fn file(width: u32, height: u32, rows: &[u8]) -> Vec<u8> {
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &FORMAT].concat();
    [SIGNATURE, &chunk(b"IHDR", &header), &chunk(b"IDAT", &zlib(rows)), &chunk(b"IEND", b"")].concat()
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let len = u32::try_from(data.len()).expect("pictures of the tour are small");
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(kind);
    checksum.update(data);
    [&len.to_be_bytes(), &kind[..], data, &checksum.finalize().to_be_bytes()].concat()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    zlib.write_all(bytes).and_then(|()| zlib.finish()).expect("memory takes what is written")
}

/// Width and height of a JPEG, if it is one.
pub fn jpeg_sides(bytes: &[u8]) -> Option<(u32, u32)> {
    const BASELINE: u8 = 0xc0;
    let mut segments = bytes.strip_prefix(b"\xff\xd8")?;
    while let [0xff, marker, high, low, body @ ..] = segments {
        if *marker == BASELINE {
            let sides: &[u8; 4] = body.get(1..5)?.try_into().ok()?;
            let [height_high, height_low, width_high, width_low] = *sides;
            let side = |high, low| u32::from(u16::from_be_bytes([high, low]));
            return Some((side(width_high, width_low), side(height_high, height_low)));
        }
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        segments = body.get(len.checked_sub(2)?..)?;
    }
    None
}
