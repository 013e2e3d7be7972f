"""Do PNG, JPEG and DICOM files of every kind read right, and does every broken one say what is wrong with it?"""

import struct
import zlib

import numpy as np
import pytest
from dicom_files import write_dicom
from PIL import Image
from pydicom.uid import JPEGBaseline8Bit

from cxrvl.data.dicom import dicom_attributes
from cxrvl.data.read_options import ReadOptions
from cxrvl.data.readers import read_image
from cxrvl.errors import ConfigError, ImageError


@pytest.fixture
def grey():
    y, x = np.mgrid[:40, :52]
    return ((x * 3 + y * 2) % 256).astype(np.uint8)


def save(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png16(path, pixels, colour_type):
    """A 16-bit PNG of any number of channels, written by hand: Pillow writes one channel only."""
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1).astype(">u2")
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    return path


def test_grey_png_and_jpeg(tmp_path, grey):
    image = read_image(save(tmp_path / "a.png", grey))
    assert image.dtype == np.float32
    assert image.flags.c_contiguous
    np.testing.assert_allclose(image, grey / 255, atol=1e-7)
    smooth = np.linspace(10, 240, 64).astype(np.uint8)[None].repeat(32, 0)
    np.testing.assert_allclose(read_image(save(tmp_path / "a.jpg", smooth, quality=98)), smooth / 255, atol=0.01)


def test_format_is_told_by_content(tmp_path, grey):
    path = save(tmp_path / "a.png", grey).rename(tmp_path / "a.dcm")
    np.testing.assert_allclose(read_image(path), grey / 255, atol=1e-7)


def test_sixteen_bits_and_the_range_policies(tmp_path):
    pixels = np.arange(0, 4000, dtype=np.uint16).reshape(40, 100)
    path = save(tmp_path / "a.png", pixels)
    np.testing.assert_allclose(read_image(path), pixels / 4095, atol=1e-6)
    np.testing.assert_allclose(read_image(path, ReadOptions(intensity="type")), pixels / 65535, atol=1e-6)
    wide = (pixels * 16).astype(np.uint16)
    np.testing.assert_allclose(read_image(save(tmp_path / "b.png", wide)), wide / 65535, atol=1e-6)
    dark = save(tmp_path / "c.png", np.full((4, 4), 40, np.uint8) // 2)
    assert read_image(dark).max() == pytest.approx(20 / 255)
    assert read_image(dark, ReadOptions(intensity="used")).max() == pytest.approx(20 / 31)
    with pytest.raises(ConfigError, match="'full' is unknown; choose one of auto, type, used"):
        ReadOptions(intensity="full")


def test_colour_with_equal_channels_is_grey(tmp_path, grey):
    rgb = np.stack([grey] * 3, -1)
    opaque = np.full_like(grey, 255)
    files = [
        save(tmp_path / "rgb.png", rgb),
        save(tmp_path / "rgba.png", np.dstack([rgb, opaque])),
        save(tmp_path / "la.png", np.dstack([grey, opaque])),
    ]
    palette = Image.fromarray(255 - grey).convert("P")
    palette.putpalette(np.repeat(np.arange(255, -1, -1, dtype=np.uint8), 3).tobytes())
    palette.putdata((255 - grey).ravel().tolist())
    palette.save(tmp_path / "p.png")
    for file in [*files, tmp_path / "p.png"]:
        np.testing.assert_allclose(read_image(file), grey / 255, atol=1e-7, err_msg=file.name)
    plain = read_image(save(tmp_path / "l.jpg", grey, quality=95))
    np.testing.assert_allclose(read_image(save(tmp_path / "rgb.jpg", rgb, quality=95)), plain, atol=2.5 / 255)


@pytest.mark.parametrize(("channels", "colour_type"), [(3, 2), (4, 6)])
def test_sixteen_bit_colour_keeps_all_bits(tmp_path, channels, colour_type):
    values = np.random.default_rng(0).integers(0, 65536, (7, 9))
    pixels = np.stack([values] * 3 + [np.full_like(values, 65535)], -1)[..., :channels]
    np.testing.assert_allclose(read_image(png16(tmp_path / "a.png", pixels, colour_type)), values / 65535, atol=1e-7)


def test_one_bit_png(tmp_path):
    bits = np.eye(9, dtype=bool)
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.png", bits)), bits.astype(np.float32))


def test_exif_orientation_is_applied(tmp_path):
    pixels = np.zeros((16, 32), np.uint8)
    pixels[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    image = read_image(save(tmp_path / "a.jpg", pixels, exif=exif, quality=95))
    assert image.shape == (32, 16)
    assert image[:6].mean() > 0.9
    assert image[10:].mean() < 0.1


def broken_files(folder, grey):
    rgb = np.stack([grey] * 3, -1)
    tinted, half = rgb.copy(), np.dstack([rgb, np.full_like(grey, 255)])
    tinted[:9, :, 0] = 200
    half[3, 3, 3] = 100
    png, jpg = save(folder / "ok.png", grey).read_bytes(), save(folder / "ok.jpg", grey).read_bytes()
    deep = np.dstack([np.full((3, 3), 9), np.full((3, 3), 65535)])
    yield "no such file", None, "cannot be opened"
    yield "zero bytes", b"", "empty file"
    yield "text renamed .png", b"not an image\n" * 30, "a text file"
    yield "bytes", bytes(range(256)), "unknown format"
    yield "tiff", b"II*\0" + bytes(99), "a TIFF file"
    yield "png head only", png[:20], "broken or truncated PNG"
    yield "png half", png[: len(png) // 2], "broken or truncated PNG"
    yield "png without end", png[:-6], "broken or truncated PNG"
    yield "png bit flip", png[:80] + bytes([png[80] ^ 1]) + png[81:], "broken or truncated PNG"
    yield "jpeg half", jpg[: len(jpg) // 2], "truncated JPEG"
    yield "jpeg padded with zeros", jpg[: len(jpg) // 2] + bytes(len(jpg) // 2), "truncated JPEG"
    yield "jpeg head", jpg[:30], "broken or truncated JPEG"
    yield "real colour", save(folder / "c.png", tinted).read_bytes(), "real colour"
    yield "transparent", save(folder / "h.png", half).read_bytes(), "1 of its 2080 pixels are transparent"
    yield "deep grey with alpha", png16(folder / "la.png", deep, 4).read_bytes(), "without alpha"
    huge = struct.pack(">IIBBBBB", 30000, 30000, 8, 0, 0, 0, 0)
    yield "huge png", png[:8] + chunk(b"IHDR", huge) + chunk(b"IDAT", b"") + chunk(b"IEND", b""), "30000 x 30000"
    at = jpg.index(b"\xff\xc0")
    yield "huge jpeg", jpg[: at + 5] + struct.pack(">HH", 30000, 30000) + jpg[at + 9 :], "30000 x 30000"


@pytest.mark.parametrize("number", range(17))
def test_broken_files_say_what_is_wrong(tmp_path, grey, number):
    files = list(broken_files(tmp_path, grey))
    assert len(files) == 17
    name, content, message = files[number]
    path = tmp_path / f"{name}.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageError, match=message) as caught:
        read_image(path)
    assert str(caught.value).startswith(str(path))


def test_animated_png_is_refused(tmp_path, grey):
    frames = [Image.fromarray(grey), Image.fromarray(255 - grey)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match="several frames"):
        read_image(tmp_path / "a.png")


def test_size_limit_can_be_raised(tmp_path):
    path = save(tmp_path / "a.png", np.zeros((1, 21000), np.uint8))
    with pytest.raises(ImageError, match="save it smaller"):
        read_image(path)
    assert read_image(path, ReadOptions(max_side=30000)).shape == (1, 21000)


def test_broken_dicom_files_say_what_is_wrong(tmp_path, grey):
    whole = write_dicom(tmp_path / "ok.dcm", grey, bits=8).read_bytes()
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(whole[:-50])
    only_head = tmp_path / "head.dcm"
    only_head.write_bytes(whole[:200])
    rgb = np.stack([grey, grey, 255 - grey], -1)
    cases = [
        (cut, "Explicit VR Little Endian"),
        (only_head, "broken or truncated|without pixel data"),
        (write_dicom(tmp_path / "n.dcm", grey, bits=8, raw=b""), "without pixel data"),
        (write_dicom(tmp_path / "f.dcm", grey, bits=8, NumberOfFrames=3, raw=bytes(3 * grey.size)), "3 frames"),
        (write_dicom(tmp_path / "c.dcm", rgb, bits=8, photometric="RGB"), "real colour"),
        (write_dicom(tmp_path / "h.dcm", grey, bits=8, Rows=30000, Columns=30000), "30000 x 30000"),
        (write_dicom(tmp_path / "p.dcm", grey, bits=8, photometric="HSV"), "1 samples per pixel of HSV"),
        (write_dicom(tmp_path / "s.dcm", grey, bits=8, BitsStored=20), "20 of 8 bits"),
    ]
    for path, message in cases:
        with pytest.raises(ImageError, match=message) as caught:
            read_image(path)
        assert str(caught.value).startswith(str(path))
        assert "ecret" not in str(caught.value)


def test_unsupported_and_truncated_transfer_syntaxes(shared, tmp_path):
    source = (shared / "data/dicom/RG3_JPLL.dcm").read_bytes()
    unknown = tmp_path / "unknown.dcm"
    unknown.write_bytes(source.replace(b"1.2.840.10008.1.2.4.70", b"1.2.840.10008.1.2.4.99", 1))
    with pytest.raises(ImageError, match=r"transfer syntax .*1\.2\.840\.10008\.1\.2\.4\.99.*cannot be decoded"):
        read_image(unknown)
    with pytest.raises(ImageError, match=r"transfer syntax JPEG Extended .*1\.2\.840\.10008\.1\.2\.4\.51"):
        read_image(shared / "data/dicom/RG3_JPLY.dcm")
    for name in ("RG1_J2KI", "RG3_JLSL", "RG3_JPLL", "RG3_RLE"):
        content = (shared / f"data/dicom/{name}.dcm").read_bytes()
        for keep in (0.01, 0.5, 0.999):
            path = tmp_path / "cut.dcm"
            path.write_bytes(content[: int(len(content) * keep)])
            with pytest.raises(ImageError):
                read_image(path)
            # The same, but with the container's own lengths intact: only the codestream is cut.
            half = int(len(content) * keep)
            path.write_bytes(content[:half] + bytes(len(content) - half - 8) + content[-8:])
            with pytest.raises(ImageError):
                read_image(path)


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
@pytest.mark.parametrize("planar", [0, 1])
def test_colour_dicom_with_equal_channels(tmp_path, grey, photometric, planar):
    other = np.full_like(grey, 128) if photometric == "YBR_FULL" else grey
    rgb = np.stack([grey, other, other], -1)
    raw = rgb.transpose(2, 0, 1).tobytes() if planar else rgb.tobytes()
    path = write_dicom(tmp_path / "a.dcm", rgb, bits=8, photometric=photometric, raw=raw, PlanarConfiguration=planar)
    np.testing.assert_allclose(read_image(path), grey / 255, atol=1e-6)


def test_palette_dicom(tmp_path, grey):
    ramp = np.arange(255, -1, -1, dtype=np.uint8).tobytes()
    colours = ("Red", "Green", "Blue")
    extra = {f"{c}PaletteColorLookupTableDescriptor": ("US", [256, 0, 8]) for c in colours}
    extra |= {f"{c}PaletteColorLookupTableData": ("OW", ramp) for c in colours}
    path = write_dicom(tmp_path / "a.dcm", grey, bits=8, photometric="PALETTE COLOR", **extra)
    np.testing.assert_allclose(read_image(path), (255 - grey) / 255, atol=1e-6)


def test_dicom_without_preamble_or_syntax(tmp_path, grey):
    path = write_dicom(tmp_path / "a.dcm", grey, bits=8)
    bare = tmp_path / "bare"
    bare.write_bytes(path.read_bytes()[132:])
    np.testing.assert_array_equal(read_image(bare), read_image(path))


def test_attributes_say_nothing_about_the_patient(tmp_path, grey):
    path = write_dicom(tmp_path / "a.dcm", grey, bits=8, ViewPosition="PA", PixelSpacing=[0.15, 0.2], PatientAge="050Y")
    found = dicom_attributes(path)
    assert found["ViewPosition"] == "PA"
    assert found["PixelSpacing"] == [0.15, 0.2]
    assert found["TransferSyntax"] == "Explicit VR Little Endian"
    assert "ecret" not in str(found)
    assert not [name for name in found if name.startswith("Patient") and name != "PatientOrientation"]
    (tmp_path / "text.dcm").write_text("PatientName: Secret^Name " * 20)
    with pytest.raises(ImageError) as caught:
        read_image(tmp_path / "text.dcm")
    assert "ecret^" not in str(caught.value)


def test_the_real_files(shared):
    folder = shared / "data/dicom"
    first, *others = (read_image(folder / f"RG3_{kind}.dcm") for kind in ("JLSL", "JPLL", "RLE"))
    for other in others:
        np.testing.assert_array_equal(other, first)
    true = read_image(next(folder.glob("siim_1*.dcm")))
    np.testing.assert_allclose(read_image(folder / "siim_fake_MONOCHROME1.dcm"), 1 - true, atol=1e-6)
    constant = read_image(folder / "himl_cxr_test_1.dcm")
    assert constant.min() == constant.max() == pytest.approx(1 / 65535)
    for name in ("gdcm-CR-MONO1-10-chest", "RG1_J2KI", "nih_cxr14_dx_implicit"):
        image = read_image(folder / f"{name}.dcm")
        height, width = image.shape
        # Lungs (a third in from each side) are darker than the spine and the belly.
        lungs = np.concatenate(
            [image[height // 3 : height // 2, width * a // 10 : width * b // 10] for a, b in ((2, 4), (6, 8))]
        )
        spine = image[height // 2 : height * 6 // 10, int(width * 0.48) : int(width * 0.55)]
        assert lungs.mean() < spine.mean() - 0.05, name
    # Both SMPTE patterns hold patches of 0 %, 10 % ... 100 %.
    for name in ("vlut_04", "mlut_18"):
        values = np.unique((read_image(folder / f"{name}.dcm") * 100).round())
        assert {0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100} <= set(values), name


def test_baseline_jpeg_inside_dicom_is_the_jpeg(shared, tmp_path):
    from pydicom import dcmread
    from pydicom.encaps import generate_frames

    path = next((shared / "data/dicom").glob("siim_1*.dcm"))
    dataset = dcmread(path)
    assert dataset.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    (tmp_path / "a.jpg").write_bytes(next(generate_frames(dataset.PixelData, number_of_frames=1)))
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg"), read_image(path), atol=1.5 / 255)
