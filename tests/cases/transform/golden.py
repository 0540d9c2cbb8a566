#!/usr/bin/env python3
"""Writes golden_images.txt and golden_numbers.txt beside this file, with TensorFlow and NumPy as the independent references.

Run it with the tool chain's interpreter, and only when cases are added: what it wrote is committed.
"""
import json
import pathlib
import struct
import zlib

import numpy as np
import tensorflow as tf

HERE = pathlib.Path(__file__).parent
RNG = np.random.default_rng(7)
NAMES = {"uint8": "UINT8", "int8": "INT8", "int16": "INT16", "float32": "FP32", "float64": "FP64", "int64": "INT64", "bool": "BOOL"}


def text(a):
    a = np.asarray(a)
    shape = "[" + ",".join(map(str, a.shape)) + "]"
    flat = a.reshape(-1)
    if a.dtype.kind == "f":
        values = [repr(float(v)) if a.dtype == np.float64 else np.format_float_positional(v, unique=True, trim="-") for v in flat]
    else:
        values = [str(int(v)) for v in flat]
    return f"{NAMES[a.dtype.name]} {shape} : {' '.join(values)}"


def files(*blobs):
    return f"BYTES [{len(blobs)}] : " + " ".join("hex:" + b.hex() for b in blobs)


class Cases:
    def __init__(self):
        self.blocks = []

    def add(self, name, type_, steps, in_, out, tolerance=0, **extra):
        lines = [f"case: {name}", f"input: {type_}", f"steps: {json.dumps(steps)}"]
        lines += [f"{k.replace('_', '-')}: {v}" for k, v in extra.items()]
        lines.append(f"in: {in_ if isinstance(in_, str) else text(in_)}")
        if out is not None:
            lines.append(f"out: {text(out)}")
        if tolerance:
            lines.append(f"tolerance: {tolerance}")
        self.blocks.append("\n".join(lines))

    def write(self, name):
        head = "# Written by golden.py with TensorFlow and NumPy.\n"
        (HERE / name).write_text(head + "\n---\n".join(self.blocks) + "\n")


def photo(h, w, c):
    y, x = np.mgrid[0:h, 0:w]
    planes = [128 + 80 * np.sin(x / 3 + k) + 40 * np.cos(y / (2 + k)) for k in range(c)]
    return np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, bits, colour, rows, interlace=0, extra=b""):
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def bmp(pixels, bits, top_down=False):
    h, w = pixels.shape[:2]
    rows = []
    for row in pixels if top_down else pixels[::-1]:
        if bits == 8:
            body = row.tobytes()
        else:
            body = b"".join(bytes([p[2], p[1], p[0]]) + (b"\0" if bits == 32 else b"") for p in row)
        rows.append(body + b"\0" * (-len(body) % 4))
    palette = b"".join(bytes([255 - i, i, (i * 7) % 256, 0]) for i in range(256)) if bits == 8 else b""
    data = b"".join(rows)
    offset = 54 + len(palette)
    head = b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset)
    head += struct.pack("<IiiHHIIiiII", 40, w, -h if top_down else h, 1, bits, 0, len(data), 0, 0, 0, 0)
    return head + palette + data


def luma(rgb):
    r, g, b = (rgb[..., i].astype(np.uint32) for i in range(3))
    return ((r * 19595 + g * 38470 + b * 7471 + 32768) >> 16).astype(np.uint8)[..., None]


def images():
    c = Cases()
    rgb, grey = photo(10, 13, 3), photo(9, 7, 1)
    decode = lambda d, ch: tf.io.decode_jpeg(d, channels=ch, dct_method="INTEGER_ACCURATE", fancy_upscaling=True).numpy()
    for name, options in [("baseline, 4:2:0", {}), ("progressive", {"progressive": True}), ("4:4:4", {"chroma_downsampling": False})]:
        data = tf.io.encode_jpeg(rgb, quality=85, **options).numpy()
        c.add(f"decode JPEG, {name}", "BYTES [-1]", [{"decode": {}}], files(data), decode(data, 3)[None], output="UINT8 [-1,-1,-1,3]")
    c.add("decode JPEG in grey", "BYTES [-1,1]", [{"decode": {"channels": 1}}], files(data).replace("[1]", "[1,1]"), decode(data, 1)[None],
          output="UINT8 [-1,-1,-1,1]")
    data = tf.io.encode_jpeg(grey, quality=90).numpy()
    c.add("decode a grey JPEG in colour", "BYTES [-1]", [{"decode": {}}], files(data), decode(data, 3)[None])
    truncated = files(data[: len(data) * 3 // 4])
    c.add("decode a JPEG that is cut off", "BYTES [-1]", [{"decode": {}}], truncated, None,
          run_error="input 'x', step 1 (decode): the JPEG is damaged: Premature end of JPEG file")

    data = tf.io.encode_png(rgb).numpy()
    c.add("decode PNG", "BYTES [-1]", [{"decode": {}}], files(data), rgb[None])
    c.add("decode PNG in grey", "BYTES [-1]", [{"decode": {"channels": 1}}], files(data), luma(rgb)[None])
    c.add("decode a PNG that is cut off", "BYTES [-1]", [{"decode": {}}], files(data[:-20]), None, run_error="the PNG is damaged: it is cut off")
    broken = bytearray(data)
    broken[60] ^= 1
    c.add("decode a PNG with a changed byte", "BYTES [-1]", [{"decode": {}}], files(bytes(broken)), None, run_error="the PNG is damaged")
    bomb = png(60000, 60000, 8, 0, b"")
    c.add("decode a PNG that claims 3.6 gigapixels", "BYTES [-1]", [{"decode": {}}], files(bomb), None,
          run_error="the image has 60000 x 60000 pixels; at most 16777216 are decoded")
    c.add("decode more pixels than are allowed", "BYTES [-1]", [{"decode": {"max_pixels": 100}}], files(data), None,
          run_error="the image has 13 x 10 pixels; at most 100 are decoded")
    rgba = np.concatenate([rgb, 255 - rgb[..., :1]], -1)
    data = tf.io.encode_png(rgba).numpy()
    c.add("decode PNG, transparency dropped", "BYTES [-1]", [{"decode": {}}], files(data), tf.io.decode_png(data, channels=3).numpy()[None])
    wide = (photo(3, 4, 3).astype(np.uint16) << 8) + 77
    data = tf.io.encode_png(wide).numpy()
    c.add("decode PNG of 16 bits", "BYTES [-1]", [{"decode": {}}], files(data), tf.io.decode_png(data, channels=3).numpy()[None])
    palette = bytes(range(0, 48))
    data = png(5, 2, 4, 3, bytes([0, 0x01, 0x23, 0x40, 0, 0xFE, 0xDC, 0xB0]), extra=chunk(b"PLTE", palette) + chunk(b"tRNS", b"\x80\x00"))
    want = np.array([0, 1, 2, 3, 4, 15, 14, 13, 12, 11])[:, None] * 3 + np.arange(3)
    c.add("decode PNG with a palette of 4 bits", "BYTES [-1]", [{"decode": {}}], files(data), want.reshape(1, 2, 5, 3).astype(np.uint8))
    rows = b""
    square = np.arange(25, dtype=np.uint8).reshape(5, 5) * 10
    for x0, y0, dx, dy in [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]:
        part = square[y0::dy, x0::dx]
        rows += b"".join(b"\0" + r.tobytes() for r in part) if part.size else b""
    c.add("decode PNG, interlaced grey", "BYTES [-1]", [{"decode": {"channels": 1}}], files(png(5, 5, 8, 0, rows, interlace=1)),
          square[None, ..., None])

    for bits, top_down in [(24, False), (24, True), (32, False)]:
        data = bmp(rgb, bits, top_down)
        c.add(f"decode BMP of {bits} bits" + (", top row first" if top_down else ""), "BYTES [-1]", [{"decode": {}}], files(data), rgb[None])
    c.add("decode BMP in grey", "BYTES [-1]", [{"decode": {"channels": 1}}], files(data), luma(rgb)[None])
    indices = photo(3, 5, 1)[..., 0]
    want = np.stack([(indices.astype(int) * 7) % 256, indices, 255 - indices], -1).astype(np.uint8)
    c.add("decode BMP of 8 bits", "BYTES [-1]", [{"decode": {}}], files(bmp(indices, 8)), want[None])
    c.add("decode a BMP that is cut off", "BYTES [-1]", [{"decode": {}}], files(data[:-1]), None, run_error="the BMP is cut off")
    odd = bytearray(data)
    odd[28] = 16
    c.add("decode a BMP of 16 bits", "BYTES [-1]", [{"decode": {}}], files(bytes(odd)), None, run_error="the BMP has 16 bits a pixel")
    huge = bytearray(data)
    huge[18:26] = struct.pack("<ii", 2**31 - 1, -(2**31))
    c.add("decode a BMP with an absurd size", "BYTES [-1]", [{"decode": {}}], files(bytes(huge)), None, run_error="the image claims a size of 2147483647 x 2147483648")

    a, b = tf.io.encode_png(photo(4, 5, 3)).numpy(), bmp(photo(6, 3, 3), 24)
    c.add("decode a batch of one size", "BYTES [-1]", [{"decode": {}}], files(a, a), np.stack([photo(4, 5, 3)] * 2))
    c.add("decode a batch of different sizes", "BYTES [-1]", [{"decode": {}}], files(a, b), None,
          run_error="image 1: has 3 x 6 pixels, the one before it 5 x 4; give decode a 'height' and 'width'")
    resized = [np.floor(tf.image.resize(p, [4, 4]).numpy() + 0.5).astype(np.uint8) for p in (photo(4, 5, 3), photo(6, 3, 3))]
    c.add("decode a batch to one size", "BYTES [-1]", [{"decode": {"height": 4, "width": 4}}, {"cast": {"dtype": "FP32"}}], files(a, b),
          np.stack(resized).astype(np.float32), output="FP32 [-1,4,4,3]")
    c.add("decode no images", "BYTES [-1]", [{"decode": {"height": 4, "width": 4}}], "BYTES [0] :", np.zeros((0, 4, 4, 3), np.uint8))
    c.add("decode something else", "BYTES [-1]", [{"decode": {}}], 'BYTES [1] : "GIF89a"', None,
          run_error="the image is no JPEG, PNG or BMP (it begins with 47 49 46 38)")
    c.add("decode nothing", "BYTES [-1]", [{"decode": {}}], 'BYTES [2] : "" ""', None, run_error="image 0: the image is empty")

    methods = {"bilinear": {}, "triangle": {"antialias": True}, "nearest": {"method": "nearest"}}
    for method, options in methods.items():
        for (h, w), (oh, ow), ch in [((7, 5), (4, 3), 3), ((4, 6), (9, 8), 1), ((5, 5), (5, 9), 2), ((13, 17), (3, 2), 3), ((1, 1), (2, 3), 4)]:
            pixels = photo(h, w, ch)
            real = (pixels.astype(np.float32) / 7 - 3).astype(np.float32)
            name = f"resize {h} x {w} x {ch} to {oh} x {ow}, {method}"
            step = [{"resize": {"height": oh, "width": ow, "method": method}}]
            want = tf.image.resize(real, [oh, ow], **options).numpy()
            c.add(name + ", FP32", f"FP32 [-1,{h},{w},{ch}]", step, real[None], want[None], 0 if method == "nearest" else 1e-5)
            want = np.floor(tf.image.resize(pixels, [oh, ow], **options).numpy() + 0.5).astype(np.uint8)
            c.add(name + ", UINT8", f"UINT8 [-1,-1,-1,{ch}]", step, pixels[None], want[None])
    two = np.stack([photo(4, 4, 1), photo(4, 4, 1)[::-1]])
    want = np.floor(tf.image.resize(two, [2, 3]).numpy() + 0.5).astype(np.uint8)
    c.add("resize a batch", "UINT8 [-1,4,4,1]", [{"resize": {"height": 2, "width": 3}}], two, want)
    c.add("crop", "UINT8 [-1,5,6,1]", [{"crop": {"height": 2, "width": 3}}], np.arange(60, dtype=np.uint8).reshape(2, 5, 6, 1),
          np.arange(60, dtype=np.uint8).reshape(2, 5, 6, 1)[:, 1:3, 1:4])
    c.write("golden_images.txt")


def numbers():
    c = Cases()
    x = RNG.normal(size=(2, 9, 3)).astype(np.float32)
    raw = RNG.integers(-2048, 2047, size=(2, 9, 3)).astype(np.int16)
    length = np.sqrt((x * x).sum(-1, keepdims=True, dtype=np.float32)).astype(np.float32)
    c.add("vector_length", "FP32 [-1,9,3]", [{"vector_length": {}}], x, length, 1e-6, output="FP32 [-1,9,1]")
    c.add("vector_length along the rows", "FP64 [-1,9,3]", [{"vector_length": {"axis": 0}}], x.astype(np.float64),
          np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True), 1e-14)
    c.add("append_column, vector length", "FP32 [-1,9,3]", [{"append_column": {}}], x, np.concatenate([x, length], -1), 1e-6, output="FP32 [-1,9,4]")
    c.add("append_column, mean along the rows", "INT16 [-1,9,3]", [{"append_column": {"of": "mean", "axis": 0}}], raw,
          np.concatenate([raw, raw.mean(1, keepdims=True)], 1).astype(np.float32), 1e-3, output="FP32 [-1,10,3]")
    c.add("append_column, sum", "INT16 [-1,-1,3]", [{"append_column": {"of": "sum"}}], raw,
          np.concatenate([raw, raw.sum(-1, keepdims=True)], -1).astype(np.float32))
    rows = np.arange(14, dtype=np.int16).reshape(1, 7, 2)
    c.add("window, the last rows", "INT16 [-1,-1,2]", [{"window": {"size": 3}}], rows, rows[:, 4:], output="INT16 [-1,3,2]")
    c.add("window, the first rows", "INT16 [-1,7,2]", [{"window": {"size": 3, "take": "first"}}], rows, rows[:, :3])
    windows = np.lib.stride_tricks.sliding_window_view(rows, 3, axis=1).transpose(0, 1, 3, 2)
    c.add("window, all of them", "INT16 [-1,-1,2]", [{"window": {"size": 3, "stride": 2, "take": "all"}}], rows, windows[:, ::2],
          output="INT16 [-1,-1,3,2]")
    c.add("window, all without overlap", "INT16 [-1,7,2]", [{"window": {"size": 3, "take": "all"}}], rows, windows[:, ::3],
          output="INT16 [-1,2,3,2]")
    c.add("softmax of 10", "FP32 [-1,9,3]", [{"softmax": {"axis": -1}}], x * 5, tf.nn.softmax(x * 5).numpy(), 1e-6)
    c.add("normalise per channel", "INT16 [-1,9,3]", [{"normalise": {"mean": [1.5, -20, 300], "std": [3, 0.7, 1000]}}], raw,
          ((raw.astype(np.float32) - np.float32([1.5, -20, 300])) / np.float32([3, 0.7, 1000])).astype(np.float32))
    wide = RNG.normal(size=(1, 40, 3)).astype(np.float32)
    c.add("scale per channel over several tiles", "FP32 [-1,-1,3]", [{"scale": {"factor": [1.5, -2, 0.1], "offset": [0, 1, 2]}}], wide,
          (wide * np.float32([1.5, -2, 0.1]) + np.float32([0, 1, 2])).astype(np.float32))
    real = np.concatenate([RNG.normal(size=60) * 40, [0.25, 0.75, -0.25, 1e30, -1e30, 1.25]]).astype(np.float32)[None]
    for dtype, zero in [(np.int8, -3), (np.uint8, 128), (np.int16, 7)]:
        info = np.iinfo(dtype)
        q = np.clip(np.round(real / np.float32(0.5)) + zero, info.min, info.max).astype(dtype)
        step = {"quantise": {"dtype": NAMES[np.dtype(dtype).name], "scale": 0.5, "zero_point": zero}}
        c.add(f"quantise to {np.dtype(dtype).name}", f"FP32 [-1,{real.size}]", [step], real, q)
        c.add(f"quantise to {np.dtype(dtype).name} and back", f"FP32 [-1,{real.size}]", [step, {"dequantise": {}}], real,
              ((q.astype(np.float32) - zero) * np.float32(0.5)))
    per = np.float32([[0.5, 2, 10]]) * np.float32([[1], [-3]])
    q = np.clip(np.round(per / np.float32([0.5, 0.25, 0.125])) + [0, 1, -2], -128, 127).astype(np.int8)
    c.add("quantise per channel", "FP32 [-1,3]", [{"quantise": {"dtype": "INT8", "scale": [0.5, 0.25, 0.125], "zero_point": [0, 1, -2]}}], per, q)
    c.add("quantise NaN", "FP32 [-1,2]", [{"quantise": {"dtype": "INT8", "scale": 1, "zero_point": 5}}], "FP32 [1,2] : nan inf", np.int8([[5, 127]]))
    c.write("golden_numbers.txt")


images()
numbers()
