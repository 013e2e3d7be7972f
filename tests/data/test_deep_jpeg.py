"""Are JPEG files of up to 16 bits read to the last bit, and those nobody here can decode refused with a reason?"""

import gdcm
import numpy as np
import pytest
from dicom_files import write_dicom
from pydicom import dcmread
from pydicom.encaps import generate_frames

from cxrvl.data.deep_jpeg import Frame, frame_of
from cxrvl.data.read_options import ReadOptions
from cxrvl.data.readers import read_image
from cxrvl.errors import ImageError

SHAPE = (30, 41)


def frame_in(path):
    return next(generate_frames(dcmread(path).PixelData, number_of_frames=1))


@pytest.fixture
def lossless(tmp_path):
    """Return a function that writes pixels (H, W) as a lossless JPEG file of so many bits."""

    def write(pixels, bits):
        # gdcm writes 8 or 16 bits. The first sample is coded as its difference to half the range, all others as that
        # to their neighbour, so the same code with fewer bits in its header stands for values that are lower by this:
        written = 8 if bits == 8 else 16
        pixels = pixels + (2 ** (written - 1) - 2 ** (bits - 1))
        write_dicom(tmp_path / "plain.dcm", pixels.astype(np.uint8 if bits == 8 else np.uint16), bits=written)
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(tmp_path / "plain.dcm"))
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFileName(str(tmp_path / "jpeg.dcm"))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        path = tmp_path / "a.jpg"
        content = frame_in(tmp_path / "jpeg.dcm")
        header = content.index(b"\xff\xc3") + 4
        assert content[header] == written
        path.write_bytes(content[:header] + bytes([bits]) + content[header + 1 :])
        return path

    return write


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_lossless_jpeg_is_read_to_the_last_bit(lossless, bits):
    pixels = np.random.default_rng(0).integers(0, 2**bits, SHAPE)
    pixels[0, :2] = 0, 2**bits - 1
    path = lossless(pixels, bits)
    assert frame_of(path.read_bytes()) == Frame(0xC3, bits, *SHAPE, 1)
    np.testing.assert_allclose(read_image(path), pixels / (2**bits - 1), atol=1e-7)


def test_sixteen_bits_that_are_not_all_used(lossless):
    """As in 16-bit PNG: 12-bit values in 16 bits are bright enough unless the declared range is asked for."""
    pixels = np.random.default_rng(0).integers(0, 4096, SHAPE)
    pixels[0, 0] = 4095
    path = lossless(pixels, 16)
    np.testing.assert_allclose(read_image(path), pixels / 4095, atol=1e-7)
    np.testing.assert_allclose(read_image(path, ReadOptions("type")), pixels / 65535, atol=1e-7)
    dark = lossless(pixels // 8, 12)
    np.testing.assert_allclose(read_image(dark), pixels // 8 / 4095, atol=1e-7, err_msg="12 bits are meant")
    np.testing.assert_allclose(read_image(dark, ReadOptions("used")), pixels // 8 / 511, atol=1e-7)


def test_broken_and_huge_ones_are_refused(lossless, tmp_path):
    whole = lossless(np.random.default_rng(0).integers(0, 4096, SHAPE), 12).read_bytes()
    spoilt = tmp_path / "b.jpg"
    for content, reason in (
        (whole[: len(whole) // 2], "truncated JPEG: no end-of-image marker"),
        (whole.replace(bytes([0, 30, 0, 41]), bytes([120, 0, 120, 0]), 1), "30720 x 30720 pixels"),
        (whole.replace(b"\xff\xc3", b"\xff\xc1", 1), "a JPEG of 12 bits that is not lossless.*16-bit PNG"),
        (whole.replace(b"\x00\x29\x01", b"\x00\x29\x03", 1), "3 components, where a grey radiograph"),
        (whole.replace(b"\xff\xc4", b"\xff\xfe", 1), "broken or truncated JPEG"),
    ):
        assert content != whole
        spoilt.write_bytes(content)
        with pytest.raises(ImageError, match=rf"b\.jpg: .*{reason}") as error:
            read_image(spoilt)
        assert "\n" not in str(error.value)


def test_where_there_is_no_frame_header_there_is_none():
    assert frame_of(b"\xff\xd8\xff") is None
    assert frame_of(b"\xff\xd8\xff\xd9\x00\x00\x00\x00") is None
    assert frame_of(b"\xff\xd8\xff\xe0\x00\x02\x00\x00") is None
    assert frame_of(b"\xff\xd8\xff\xff\xc0\x00\x0b\x08\x00\x02\x00\x03\x01") == Frame(0xC0, 8, 2, 3, 1), "fill byte"


def test_real_radiographs(shared, tmp_path):
    """The same leg, as a lossless JPEG outside of DICOM, and as 12-bit extended JPEG, which has no decoder here."""
    (tmp_path / "leg.jpg").write_bytes(frame_in(shared / "data/dicom/RG3_JPLL.dcm"))
    expected = dcmread(shared / "data/dicom/RG3_JPLL.dcm").pixel_array / 1023
    np.testing.assert_allclose(read_image(tmp_path / "leg.jpg"), expected, atol=1e-6)
    (tmp_path / "leg.jpg").write_bytes(frame_in(shared / "data/dicom/RG3_JPLY.dcm"))
    with pytest.raises(ImageError, match="a JPEG of 12 bits that is not lossless"):
        read_image(tmp_path / "leg.jpg")
