from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from onnx_files import model, node, port, relu, save
from PIL import Image

from sysnoise_conform.card import Card, ImageInput
from sysnoise_conform.errors import BadInput
from sysnoise_conform.graph.intake import Model, open_model
from sysnoise_conform.inputs import Samples, load_samples
from sysnoise_conform.pictures.decode import decode
from sysnoise_conform.pictures.place import prepare
from sysnoise_conform.pictures.resize import resize

RNG = np.random.default_rng(0)
ANY = (None, None)


@pytest.fixture
def dynamic(tmp_path: Path) -> Model:
    (tmp_path / "model").mkdir()
    return open_model(save(tmp_path / "model", relu(shape=("n", 3, "h", "w"))))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "pictures"
    path.mkdir()
    return path


def picture(path: Path, pixels: np.ndarray, **options) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def noise(height: int = 24, width: int = 32) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def load(opened: Model, path: Path, image: ImageInput | None = None, **options) -> Samples:
    card = Card(name="card", image=image or ImageInput(size=(16, 16)))
    return load_samples(opened, inputs=path, card=card, samples=None, seed=0, shapes=options.get("shapes", {}))


def refusal(opened: Model, path: Path, image: ImageInput | None = None) -> str:
    with pytest.raises(BadInput) as caught:
        load(opened, path, image)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_pictures_are_prepared_as_the_card_says(dynamic: Model, folder: Path) -> None:
    pixels = noise(16, 16)
    picture(folder / "b.png", pixels)
    picture(folder / "a.png", 255 - pixels)
    spec = ImageInput(size=(16, 16), colour="BGR", scale=1 / 255, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))

    samples = load(dynamic, folder, spec)

    assert (samples.kind, samples.names) == ("images", ("a.png", "b.png"))
    expected = (pixels[:, :, ::-1] / 255 - [0.1, 0.2, 0.3]) / [0.5, 0.6, 0.7]
    got = samples.feed(1)["x"]
    assert got.dtype == np.float32
    assert got.shape == (1, 3, 16, 16)
    np.testing.assert_allclose(got[0].transpose(1, 2, 0), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        (ImageInput(resize="squash", size=(20, 10)), (20, 10)),
        (ImageInput(resize="shorter+crop", shorter=20, size=(16, 18)), (16, 18)),
        (ImageInput(resize="letterbox", size=(40, 40)), (40, 40)),
        (ImageInput(resize="max_side", size=(64, 64), multiple=8), (24, 32)),
        (ImageInput(resize="max_side", size=(16, 16), multiple=8), (16, 16)),
        (ImageInput(resize="multiple_of", shorter=96, multiple=32), (96, 128)),
        (ImageInput(resize="height+pad", size=(12, 40)), (12, 40)),
        (ImageInput(resize="height+pad", size=(12, 10)), (12, 10)),
        (ImageInput(resize="height+grow", size=(12, 10)), (12, 16)),
    ],
)
def test_each_resize_policy_makes_its_size(spec: ImageInput, shape: tuple[int, int]) -> None:
    assert prepare(noise(24, 32), spec, ANY).shape == (1, 3, *shape)
    channels_last = ImageInput(
        resize=spec.resize, size=spec.size, shorter=spec.shorter, multiple=spec.multiple, layout="NHWC"
    )
    assert prepare(noise(24, 32), channels_last, ANY).shape == (1, *shape, 3)


def test_a_crop_takes_the_middle_and_padding_lies_on_the_right() -> None:
    ramp = np.repeat(np.arange(32, dtype=np.uint8)[None, :, None], 16, 0).repeat(3, 2)

    cropped = prepare(ramp, ImageInput(resize="shorter+crop", shorter=16, size=(16, 16), scale=1.0), ANY)
    padded = prepare(ramp, ImageInput(resize="height+pad", size=(16, 40), scale=1.0, pad=127.5), ANY)

    assert cropped[0, 0, 0].tolist() == list(range(8, 24))
    assert padded[0, 0, 0].tolist() == [*range(32), *[127.5] * 8]


def test_pillow_s_filters_are_pillow_s_and_opencv_s_are_opencv_s() -> None:
    cv2 = pytest.importorskip("cv2")
    for height, width, tall, wide in (
        (48, 64, 35, 35),
        (50, 33, 35, 70),
        (37, 41, 37, 12),
        (64, 64, 32, 32),
        (12, 12, 30, 30),
    ):
        pixels = noise(height, width)
        bilinear = cv2.resize(pixels, (wide, tall), interpolation=cv2.INTER_LINEAR)
        nearest = cv2.resize(pixels, (wide, tall), interpolation=cv2.INTER_NEAREST)
        area = cv2.resize(pixels, (wide, tall), interpolation=cv2.INTER_AREA)
        pillow = np.asarray(Image.fromarray(pixels).resize((wide, tall), Image.Resampling.BICUBIC))

        difference = np.abs(resize(pixels, (tall, wide), "opencv-bilinear").astype(int) - bilinear.astype(int))
        assert difference.max() <= (0 if tall <= height and wide <= width else 1)
        assert np.array_equal(resize(pixels, (tall, wide), "opencv-nearest"), nearest)
        assert np.array_equal(resize(pixels, (tall, wide), "opencv-area"), area)
        assert np.array_equal(resize(pixels, (tall, wide), "pillow-bicubic"), pillow)


def test_sixteen_bit_grey_is_scaled_not_clipped(folder: Path) -> None:
    path = folder / "x.png"
    Image.fromarray(np.full((4, 4), 32896, np.uint16)).save(path)

    assert (decode(path, exif=True) == 128).all()


def test_cmyk_alpha_and_palettes_become_rgb(folder: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(folder / "c.jpg", quality=100)
    Image.new("RGBA", (8, 8), (10, 20, 30, 40)).save(folder / "a.png")
    Image.new("P", (8, 8), 3).save(folder / "p.png")

    red = decode(folder / "c.jpg", exif=True)[0, 0]
    assert red[0] > 200
    assert red[1] < 60
    assert decode(folder / "a.png", exif=True)[0, 0].tolist() == [10, 20, 30]
    assert decode(folder / "p.png", exif=True).shape == (8, 8, 3)


def test_exif_turns_the_picture_only_where_the_card_says_so(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = picture(folder / "x.jpg", noise(24, 32), exif=exif)

    assert decode(path, exif=True).shape == (32, 24, 3)
    assert decode(path, exif=False).shape == (24, 32, 3)


def png(width: int, height: int, rows: bytes, *, wrong_sum: bool = False) -> bytes:
    def chunk(kind: bytes, data: bytes, flip: int = 0) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ flip)

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows), int(wrong_sum)) + chunk(b"IEND", b"")


def jpeg() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(noise(256, 256)).save(stream, "JPEG")
    return stream.getvalue()


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    "content",
    [
        b"", b"no picture", jpeg()[:-5000], jpeg()[:100], png(8, 8, bytes(9 * 8), wrong_sum=True), png(0, 0, b""),
        png(60_000, 60_000, bytes(100)), png(12_000, 12_000, bytes(12_001)),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    ],
)  # fmt: skip
def test_a_broken_picture_is_named_in_one_line(dynamic: Model, folder: Path, content: bytes) -> None:
    picture(folder / "a.png", noise())
    (folder / "broken.png").write_bytes(content)

    assert "'broken.png'" in refusal(dynamic, folder)


def test_a_picture_of_one_pixel_is_legal(dynamic: Model, folder: Path) -> None:
    picture(folder / "x.png", np.full((1, 1, 3), 51, np.uint8))

    assert np.allclose(load(dynamic, folder).feed(0)["x"], 0.2)


def test_the_command_line_s_shape_is_the_size(dynamic: Model, folder: Path) -> None:
    picture(folder / "x.png", noise())

    samples = load(dynamic, folder, ImageInput(), shapes={"x": (1, 3, 40, 48)})

    assert samples.feed(0)["x"].shape == (1, 3, 40, 48)


def test_the_sum_covers_pixels_and_preparation(dynamic: Model, folder: Path) -> None:
    pixels = noise()
    path = picture(folder / "x.png", pixels)
    first = load(dynamic, path).sha256
    other_card = load(dynamic, path, ImageInput(size=(16, 16), colour="BGR")).sha256
    picture(path, 255 - pixels)

    assert len({first, other_card, load(dynamic, path).sha256}) == 3


def test_what_pictures_lack_is_told(dynamic: Model, folder: Path, tmp_path: Path) -> None:
    picture(folder / "x.png", noise())
    fixed = open_model(save(tmp_path, relu(shape=(1, 3, 32, 32)), "fixed.onnx"))
    two = open_model(
        save(tmp_path, model([node("Add", ["x", "z"], ["y"])], [port("x"), port("z")], [port("y")]), "two.onnx")
    )
    flat = open_model(save(tmp_path, relu(), "flat.onnx"))

    with pytest.raises(BadInput, match="need a model card"):
        load_samples(dynamic, inputs=folder, card=None, samples=None, seed=0, shapes={})
    assert "needs a size" in refusal(dynamic, folder, ImageInput())
    assert "makes images of height 16, the model takes 32" in refusal(fixed, folder)
    assert "the model also takes: z FLOAT [1, 4]" in refusal(two, folder)
    assert "no image" in refusal(flat, folder)
    np.save(folder / "x.npy", np.zeros(1))
    assert "both arrays and pictures" in refusal(dynamic, folder)
