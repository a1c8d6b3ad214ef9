//! Makes a small JPEG of a JPEG or PNG that a stranger has uploaded.
//!
//! Decoders of images are where hostile bytes go first: here they meet them in a sandbox.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::{ImageReader, Limits};
use millpond_guest::{OrElse, Raw, Result, config, info};

/// Pixels on the longer side, where the operator has not set `side`.
const SIDE: u32 = 128;
/// Pixels on either side of an upload: what is larger is not a photo, but an attempt to fill the memory.
const UPLOAD_SIDE_MAX: u32 = 16_384;
/// Bytes that the decoder may use, for 24 megapixels in colour.
const DECODER_BYTES_MAX: u64 = 96 * 1024 * 1024;

/// Takes the upload's bytes and returns the thumbnail's.
#[millpond_guest::handler]
fn thumbnail(upload: Raw) -> Result<Raw> {
    let side = config::parsed("side")?.unwrap_or(SIDE).clamp(1, 1_024);
    let mut reader = ImageReader::new(Cursor::new(&*upload)).with_guessed_format()?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(UPLOAD_SIDE_MAX);
    limits.max_image_height = Some(UPLOAD_SIDE_MAX);
    limits.max_alloc = Some(DECODER_BYTES_MAX);
    reader.limits(limits);
    let image = reader.decode().or_dead_letter()?;
    // An upload that is small enough stays as large as it is.
    let side = side.min(image.width().max(image.height()));
    let small = image.thumbnail(side, side).into_rgb8();
    info!("{} x {} to {} x {}", image.width(), image.height(), small.width(), small.height());
    let mut bytes = Vec::new();
    small.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, 80)).or_dead_letter()?;
    Ok(Raw(bytes))
}

#[cfg(test)]
mod tests {
    use image::{ImageFormat, RgbImage};
    use millpond_guest::testing::{Host, Outcome};

    use super::*;

    fn upload(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
        let image = RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 200]));
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn size(outcome: &Outcome) -> (u32, u32) {
        let Outcome::Done(bytes) = outcome else { panic!("{outcome:?}") };
        let image = image::load_from_memory_with_format(bytes, ImageFormat::Jpeg).unwrap();
        (image.width(), image.height())
    }

    #[test]
    fn a_jpeg_and_a_png_become_small() {
        let mut host = Host::new().config("side", "64");
        for format in [ImageFormat::Jpeg, ImageFormat::Png] {
            assert_eq!(size(&host.run_raw(thumbnail, upload(400, 200, format))), (64, 32));
        }
        assert_eq!(host.logs()[0].text, "400 x 200 to 64 x 32");
    }

    #[test]
    fn a_small_upload_stays_as_large_as_it_is() {
        assert_eq!(size(&Host::new().run_raw(thumbnail, upload(30, 20, ImageFormat::Png))), (30, 20));
    }

    #[test]
    fn what_is_no_image_is_dead_letter() {
        let whole = upload(100, 100, ImageFormat::Jpeg);
        for bytes in [&b"GIF89a"[..], b"", &whole[..300]] {
            let outcome = Host::new().run_raw(thumbnail, bytes);
            assert!(outcome.is_dead_letter(), "{outcome:?}");
        }
    }

    #[test]
    fn a_png_that_claims_to_be_huge_is_dead_letter() {
        let mut png = upload(10, 10, ImageFormat::Png);
        png[16..20].copy_from_slice(&60_000u32.to_be_bytes());
        assert!(Host::new().run_raw(thumbnail, png).is_dead_letter());
    }
}
