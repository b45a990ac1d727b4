"""H.264 and MPEG-2 whose pictures are single fields, which no encoder at hand writes: two coded pictures a frame.

The smallest encoders that the standards allow: H.264 with plain samples (I_PCM), MPEG-2 with the means of blocks. All
pictures are intra pictures; with `reordered` they come in the order in which B frames would be coded.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.generated_videos import numbered_frame

WIDTH, HEIGHT, RATE = 160, 96, 30
FRAME_NUMBER_BITS, ORDER_BITS = 4, 8


class BitWriter:
    def __init__(self) -> None:
        self.bits: list[str] = []

    def u(self, value: int, count: int) -> None:
        self.bits.append(format(value, f"0{count}b"))

    def ue(self, *values: int) -> None:
        for value in values:
            code = format(value + 1, "b")
            self.bits.append("0" * (len(code) - 1) + code)

    def align(self) -> None:
        self.bits.append("0" * (-sum(map(len, self.bits)) % 8))

    def data(self) -> bytes:
        text = "".join(self.bits)
        return int(text, 2).to_bytes(len(text) // 8, "big")


def fields_of(number: int, width: int, height: int) -> Iterator[tuple[int, tuple[np.ndarray, ...]]]:
    image = numbered_frame(number, width, height)
    for parity in (0, 1):
        planes = image[:height], *image[height:].reshape(2, height // 2, width // 2)
        yield parity, tuple(plane[parity::2] for plane in planes)


def _unit(header: int, writer: BitWriter) -> bytes:
    writer.u(1, 1)
    writer.align()
    body, zeros = bytearray(), 0
    for byte in writer.data():
        if zeros == 2 and byte <= 3:
            body.append(3)
            zeros = 0
        body.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return b"\x00\x00\x00\x01" + bytes([header]) + bytes(body)


def h264_parameters() -> bytes:
    sps = BitWriter()
    for value in (77, 0, 30):  # Main profile
        sps.u(value, 8)
    sps.ue(0, FRAME_NUMBER_BITS - 4, 0, ORDER_BITS - 4, 4)
    sps.u(0, 1)
    sps.ue(WIDTH // 16 - 1, HEIGHT // 32 - 1)
    for bit in (0, 0, 1, 0, 1):  # not only frames, no MBAFF, direct_8x8_inference, no cropping, VUI
        sps.u(bit, 1)
    for bit in (0, 0, 0, 0, 0, 0, 0, 0, 1, 1):  # nothing but restrictions: frames are reordered by two
        sps.u(bit, 1)
    sps.ue(0, 0, 10, 10, 2, 4)
    pps = BitWriter()
    pps.ue(0, 0)
    pps.u(0, 2)
    pps.ue(0, 0, 0)
    pps.u(0, 3)
    pps.ue(0, 0, 0)
    pps.u(0b100, 3)  # deblocking can be switched off
    return _unit(0x67, sps) + _unit(0x68, pps)


def h264_field(
    planes: Sequence[np.ndarray], *, parity: int, order: int, frame_number: int, is_idr: bool, ref: bool
) -> bytes:
    out = BitWriter()
    out.ue(0, 7, 0)
    out.u(frame_number % (1 << FRAME_NUMBER_BITS), FRAME_NUMBER_BITS)
    out.u(2 | parity, 2)
    if is_idr:
        out.ue(0)
    out.u(order % (1 << ORDER_BITS), ORDER_BITS)
    if is_idr:
        out.u(0, 2)
    elif ref:
        out.u(0, 1)
    out.ue(0, 1)
    luma, *chroma = planes
    for row in range(0, luma.shape[0], 16):
        for column in range(0, WIDTH, 16):
            out.ue(25)
            out.align()
            samples = luma[row : row + 16, column : column + 16].tobytes()
            for plane in chroma:
                samples += plane[row // 2 : row // 2 + 8, column // 2 : column // 2 + 8].tobytes()
            out.bits.append("".join(format(byte, "08b") for byte in samples))
    return _unit((0x60 if ref else 0) | (5 if is_idr else 1), out)


def decode_order(num_frames: int, *, reordered: bool) -> list[int]:
    """Return frames as they are coded: each third one before the two that are shown before it."""
    if not reordered:
        return list(range(num_frames))
    order = [0]
    for anchor in range(3, num_frames, 3):
        order += [anchor, anchor - 2, anchor - 1]
    return order


def h264_pictures(num_frames: int, *, reordered: bool) -> list[tuple[int, list[bytes]]]:
    """Return the number of each frame with its two fields, in decode order."""
    found, frame_number = [], 0
    for place, number in enumerate(decode_order(num_frames, reordered=reordered)):
        is_ref = not reordered or number % 3 == 0
        fields = [
            h264_field(planes, parity=parity, order=2 * number + parity, frame_number=frame_number,
                       is_idr=not place and not parity, ref=is_ref)
            for parity, planes in fields_of(number, WIDTH, HEIGHT)
        ]  # fmt: skip
        frame_number += is_ref
        if not place:
            fields[0] = h264_parameters() + fields[0]
        found.append((number, fields))
    return found


MPEG2_WIDTH, MPEG2_HEIGHT = 320, 192
"""So large that the number can be read from means of 8x8 pixels."""
DC_SIZES = (
    ("100", "00", "01", "101", "110", "1110", "11110", "111110", "1111110"),
    ("00", "01", "10", "110", "1110", "11110", "111110", "1111110", "11111110"),
)
"""Codes of the number of bits of a difference, for luma and chroma. Source: ITU-T H.262, tables B.12 and B.13."""


def _mpeg2_unit(code: int, *fields: tuple[int, int], more: BitWriter | None = None) -> bytes:
    out = BitWriter()
    for value, count in fields:
        out.u(value, count)
    out.bits += more.bits if more is not None else []
    out.align()
    return b"\x00\x00\x01" + bytes([code]) + out.data()


def mpeg2_field(planes: Sequence[np.ndarray], *, parity: int, temporal_reference: int) -> bytes:
    data = _mpeg2_unit(0x00, (temporal_reference, 10), (1, 3), (0xFFFF, 16), (0, 1))
    data += _mpeg2_unit(0xB5, (8, 4), (0xFFFF, 16), (0, 2), (1 + parity, 2), (0, 12))
    means = [
        plane.reshape(plane.shape[0] // 8, 8, plane.shape[1] // 8, 8).mean((1, 3)).round().astype(int)
        for plane in planes
    ]
    for row in range(means[1].shape[0]):
        out, before = BitWriter(), [128, 128, 128]
        for column in range(means[1].shape[1]):
            out.u(0b11, 2)  # the next macroblock, intra
            blocks = [(0, means[0][2 * row + y, 2 * column + x]) for y in (0, 1) for x in (0, 1)]
            for plane, mean in [*blocks, (1, means[1][row, column]), (2, means[2][row, column])]:
                step = int(mean) - before[plane]
                before[plane], size = int(mean), abs(step).bit_length()
                out.bits.append(DC_SIZES[plane > 0][size])
                if size:
                    out.u(step if step > 0 else step + (1 << size) - 1, size)
                out.u(0b10, 2)  # nothing but the mean
        data += _mpeg2_unit(1 + row, (1, 5), (0, 1), more=out)
    return data


def mpeg2_pictures(num_frames: int) -> list[tuple[int, list[bytes]]]:
    """Return the number of each frame with its two fields."""
    head = _mpeg2_unit(
        0xB3, (MPEG2_WIDTH, 12), (MPEG2_HEIGHT, 12), (1, 4), (5, 4), (5000, 18), (1, 1), (100, 10), (0, 3)
    )
    head += _mpeg2_unit(0xB5, (1, 4), (0x48, 8), (0, 1), (1, 2), (0, 4), (0, 12), (1, 1), (0, 8), (0, 8))
    found = []
    for number in range(num_frames):
        fields = [
            mpeg2_field(planes, parity=parity, temporal_reference=number % 10)
            for parity, planes in fields_of(number, MPEG2_WIDTH, MPEG2_HEIGHT)
        ]
        if number % 10 == 0:
            fields[0] = head + _mpeg2_unit(0xB8, (0, 12), (1, 1), (0, 12), (1, 1), (0, 1)) + fields[0]
        found.append((number, fields))
    return found


def write_fields(path: Path, codec: str, pictures: list[tuple[int, list[bytes]]], *, joined: bool, form: str) -> Path:
    """Mux the fields: a packet for both of a frame, or one each, half a frame apart."""
    plain = path if form == "mpegts" else path.with_suffix(".plain.ts")
    with av.open(str(plain), "w", format="mpegts") as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"  # of the packets is what counts
        _mux(container, stream, pictures, joined=joined)
    if form != "mpegts":  # whose parameters are those of the stream, not of an encoder that was asked for none
        with av.open(str(plain)) as template, av.open(str(path), "w", format=form) as container:
            stream = container.add_stream_from_template(template.streams.video[0])
            _mux(container, stream, pictures, joined=joined)
    return path


def _mux(
    container: av.container.OutputContainer,
    stream: av.VideoStream,
    pictures: list[tuple[int, list[bytes]]],
    *,
    joined: bool,
) -> None:
    numbers = [number for number, _ in pictures]
    late, base = 2 if numbers != sorted(numbers) else 0, Fraction(1, 2 * RATE)
    for place, (number, fields) in enumerate(pictures):
        for half, data in enumerate([b"".join(fields)] if joined else fields):
            packet = av.Packet(data)
            packet.pts, packet.dts = 2 * number + half, 2 * (place - late) + half
            packet.time_base, packet.stream, packet.duration = base, stream, 2 if joined else 1
            packet.is_keyframe = not place and not half
            container.mux(packet)
