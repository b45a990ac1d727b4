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


def planes_of(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    image = numbered_frame(number, WIDTH, HEIGHT)
    luma, chroma = image[:HEIGHT], image[HEIGHT:].reshape(2, HEIGHT // 2, WIDTH // 2)
    return luma, chroma[0], chroma[1]


def fields_of(number: int) -> Iterator[tuple[int, tuple[np.ndarray, ...]]]:
    for parity in (0, 1):
        yield parity, tuple(plane[parity::2] for plane in planes_of(number))


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
            out.bits.append(f"{int.from_bytes(samples, 'big'):0{8 * len(samples)}b}")
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
            for parity, planes in fields_of(number)
        ]  # fmt: skip
        frame_number += is_ref
        if not place:
            fields[0] = h264_parameters() + fields[0]
        found.append((number, fields))
    return found


def write_fields(path: Path, codec: str, pictures: list[tuple[int, list[bytes]]], *, joined: bool, form: str) -> Path:
    """Mux the fields: a packet for both of a frame, or one each, half a frame apart."""
    plain = path if form == "mpegts" else path.with_suffix(".plain.ts")
    with av.open(str(plain), "w", format="mpegts") as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
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
