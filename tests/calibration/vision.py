"""Networks that look at pictures: each family as a function of its hyper-parameters."""

from __future__ import annotations

from calibration.draft import Draft, normals, pictures


def plain_cnn(
    g: Draft, *, size: int, widths: tuple[int, ...], kernel: int, activation: str, pool: str, norm: bool, head: str
) -> list[str]:
    """Convolutions one after the other, as in VGG."""
    x, channels = g.input("image", (3, size, size), pictures), 3
    for width in widths:
        for repeat in range(2):
            x = g.conv(x, channels, width, kernel if repeat == 0 else 3, bias=not norm)
            x = g.activation(g.batch_norm(x, width) if norm else x, activation, width)
            channels = width
        x = g.op(pool, x, kernel_shape=[2, 2], strides=[2, 2])
    side = size // 2 ** len(widths)
    if head == "flatten":
        x = g.gemm(g.op("Flatten", x), channels * side * side, 64, gain=2.0)
        x = g.gemm(g.activation(x, "Relu"), 64, 100)
    else:
        x = g.gemm(g.op("Flatten", g.op("GlobalAveragePool", x)), channels, 100)
    return [g.op("Softmax", x, axis=-1)] if head == "softmax" else [x]


def residual_cnn(g: Draft, *, size: int, width: int, blocks: int, bottleneck: bool, activation: str) -> list[str]:
    """ResNets with basic blocks or bottlenecks."""
    x = g.conv(g.input("image", (3, size, size), pictures), 3, width, 7, stride=2, bias=False)
    x = g.activation(g.batch_norm(x, width), activation, width)
    x = g.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = width
    for number in range(blocks):
        outputs, stride = (channels * 2, 2) if number % 2 else (channels, 1)
        inner = outputs // 2 if bottleneck else outputs
        y = g.conv(x, channels, inner, 1 if bottleneck else 3, stride=1 if bottleneck else stride, bias=False)
        y = g.activation(g.batch_norm(y, inner), activation, inner)
        if bottleneck:
            y = g.activation(
                g.batch_norm(g.conv(y, inner, inner, 3, stride=stride, bias=False), inner), activation, inner
            )
        y = g.batch_norm(g.conv(y, inner, outputs, 1 if bottleneck else 3, bias=False, gain=1.0), outputs)
        if stride != 1:
            x = g.batch_norm(g.conv(x, channels, outputs, 1, stride=stride, bias=False, gain=1.0), outputs)
        x, channels = g.activation(g.op("Add", y, x), activation, outputs), outputs
    pooled = g.op("ReduceMean", x, axes=[2, 3], keepdims=0)
    return [g.gemm(pooled, channels, 50)]


def mobile(g: Draft, *, size: int, width: int, blocks: int, expand: int, activation: str, gate: str) -> list[str]:
    """Inverted residuals with depthwise convolutions and squeeze-and-excitation."""
    x = g.conv(g.input("image", (3, size, size), pictures), 3, width, 3, stride=2, bias=False)
    x, channels = g.activation(g.batch_norm(x, width), activation), width
    for number in range(blocks):
        outputs, stride, inner = (
            (channels + 8, 2, channels * expand) if number % 2 else (channels, 1, channels * expand)
        )
        y = g.activation(g.batch_norm(g.conv(x, channels, inner, 1, bias=False), inner), activation)
        y = g.conv(y, inner, inner, 5 if number % 3 == 2 else 3, stride=stride, groups=inner, bias=False)
        y = g.activation(g.batch_norm(y, inner), activation)
        squeezed = g.op("GlobalAveragePool", y)
        squeezed = g.op("Relu", g.conv(squeezed, inner, max(4, inner // 4), 1))
        squeezed = g.op(gate, g.conv(squeezed, max(4, inner // 4), inner, 1))
        y = g.batch_norm(g.conv(g.op("Mul", y, squeezed), inner, outputs, 1, bias=False, gain=1.0), outputs)
        x = g.op("Add", y, x) if stride == 1 else y
        channels = outputs
    x = g.op("Flatten", g.op("GlobalAveragePool", g.activation(g.conv(x, channels, 96, 1), activation)))
    return [g.gemm(x, 96, 80)]


def unet(g: Draft, *, size: int, width: int, depth: int, up: str, activation: str, head: str) -> list[str]:
    """An encoder, a decoder, and skips between them."""
    x, channels, skips = g.input("image", (3, size, size), pictures), 3, []
    for level in range(depth + 1):
        outputs = width * 2**level
        x = g.activation(g.batch_norm(g.conv(x, channels, outputs, bias=False), outputs), activation, outputs)
        x, channels = g.activation(g.conv(x, outputs, outputs), activation, outputs), outputs
        if level < depth:
            skips.append((x, channels))
            x = g.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    for skip, outputs in reversed(skips):
        x = enlarge(g, x, channels, outputs, up)
        x = g.op("Concat", skip, x, axis=1)
        x = g.activation(g.batch_norm(g.conv(x, 2 * outputs, outputs, bias=False), outputs), activation, outputs)
        channels = outputs
    x = g.conv(x, channels, 4, 1, gain=1.0)
    return [g.op("Softmax", x, axis=1)] if head == "Softmax" else [g.op(head, x)]


def enlarge(g: Draft, x: str, inputs: int, outputs: int, how: str) -> str:
    """Twice the height and width, with `outputs` channels."""
    if how == "ConvTranspose":
        return g.deconv(x, inputs, outputs)
    if how == "DepthToSpace":
        return g.op("DepthToSpace", g.conv(x, inputs, 4 * outputs, 1, gain=1.0), blocksize=2, mode="CRD")
    scales = g.constant([1, 1, 2, 2])
    if how == "nearest":
        x = g.op(
            "Resize", x, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
        )
    else:
        x = g.op("Resize", x, "", scales, mode="linear", coordinate_transformation_mode=how)
    return g.conv(x, inputs, outputs, 1, gain=1.0)


def detector(g: Draft, *, size: int, width: int, activation: str, classes: int, decode: str) -> list[str]:
    """A feature pyramid whose heads give scores and boxes."""
    x = g.conv(g.input("image", (3, size, size), pictures), 3, width, 3, stride=2)
    levels = []
    for _ in range(3):
        x = g.activation(g.batch_norm(g.conv(x, width, width, stride=2, bias=False), width), activation, width)
        x = g.activation(g.conv(x, width, width, gain=1.5), activation, width)
        levels.append(x)
    merged = [g.conv(levels[-1], width, width, 1, gain=1.0)]
    for level in reversed(levels[:-1]):
        up = g.op("Resize", merged[0], "", g.constant([1, 1, 2, 2]), mode="nearest",
                  coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip
        merged.insert(0, g.op("Add", g.conv(level, width, width, 1, gain=1.0), up))
    heads = (g.normal(classes, width, 3, 3, scale=(1 / (9 * width)) ** 0.5), g.constant([-2.0] * classes))
    boxes = (g.normal(4, width, 3, 3, scale=(1 / (9 * width)) ** 0.5), g.normal(4, scale=0.1))
    flat = []
    for weights, last in ((heads, classes), (boxes, 4)):
        maps = [g.op("Conv", each, *weights, kernel_shape=[3, 3], pads=[1] * 4) for each in merged]
        rows = [g.op("Transpose", g.op("Reshape", each, g.shape(0, last, -1)), perm=[0, 2, 1]) for each in maps]
        flat.append(g.op("Concat", *rows, axis=1))
    scores, offsets = g.op("Sigmoid", flat[0]), flat[1]
    if decode == "exp":
        near, far = (
            g.op("Slice", offsets, g.shape(0), g.shape(2), g.shape(2)),
            g.op("Slice", offsets, g.shape(2), g.shape(4), g.shape(2)),
        )
        offsets = g.op(
            "Concat", g.op("Mul", near, g.constant(8.0)), g.op("Exp", g.op("Clip", far, "", g.constant(4.0))), axis=2
        )
    elif decode == "relu":
        offsets = g.op("Mul", g.op("Relu", offsets), g.constant([[[8.0, 8.0, 16.0, 16.0]]]))
    elif decode == "best":
        best = g.op("ReduceMax", scores, axes=[2], keepdims=0)
        label = g.op("ArgMax", scores, axis=2, keepdims=0)
        return [best, label, g.op("Mul", offsets, g.op("Unsqueeze", best, g.shape(2)))]
    elif decode == "top":
        best = g.op("ReduceMax", scores, axes=[2], keepdims=0)
        return [g.op("TopK", best, g.shape(10), outputs=2, axis=1), offsets]
    return [scores, offsets]


def generator(g: Draft, *, latent: int, width: int, steps: int, up: str, norm: bool, activation: str) -> list[str]:
    """A GAN's generator: from a latent vector to a picture in -1..1."""
    x = g.gemm(g.input("latent", (latent,), normals), latent, width * 16)
    x, channels = g.op("Reshape", x, g.shape(0, width, 4, 4)), width
    for _ in range(steps):
        outputs = max(8, channels // 2)
        x = enlarge(g, x, channels, outputs, up)
        if norm:
            scale, shift = g.uniform(0.7, 1.3, outputs), g.normal(outputs, scale=0.1)
            x = g.op("InstanceNormalization", x, scale, shift, epsilon=1e-5)
        x, channels = (
            g.activation(g.conv(g.activation(x, activation, outputs), outputs, outputs, gain=1.5), activation, outputs),
            outputs,
        )
    return [g.op("Tanh", g.conv(x, channels, 3, gain=0.5))]


def super_resolution(g: Draft, *, size: int, width: int, blocks: int, activation: str) -> list[str]:
    """ESPCN with residual blocks: the picture twice as large, clipped to its range."""
    image = g.input("image", (3, size, size), pictures)
    x = first = g.conv(image, 3, width, 5)
    for _ in range(blocks):
        y = g.conv(g.activation(g.conv(x, width, width), activation, width), width, width, gain=0.3)
        x = g.op("Add", x, y)
    x = g.op("Add", g.conv(x, width, width, gain=0.5), first)
    x = g.op("DepthToSpace", g.conv(x, width, 12, gain=0.5), blocksize=2, mode="CRD")
    large = g.op(
        "Resize", image, "", g.constant([1, 1, 2, 2]), mode="linear", coordinate_transformation_mode="half_pixel"
    )
    return [g.op("Clip", g.op("Add", x, large), g.constant(-3.0), g.constant(3.0))]


def dense_cnn(g: Draft, *, size: int, growth: int, layers: int, stages: int) -> list[str]:
    """Every layer sees all before it (DenseNet): Concat, and BatchNormalization before the activation."""
    x, channels = (
        g.conv(g.input("image", (3, size, size), pictures), 3, 2 * growth, 3, stride=2, bias=False),
        2 * growth,
    )
    for stage in range(stages):
        for _ in range(layers):
            y = g.op("Relu", g.batch_norm(x, channels))
            x, channels = g.op("Concat", x, g.conv(y, channels, growth, bias=False), axis=1), channels + growth
        if stage < stages - 1:
            y = g.conv(g.op("Relu", g.batch_norm(x, channels)), channels, channels // 2, 1, bias=False)
            x, channels = g.op("AveragePool", y, kernel_shape=[2, 2], strides=[2, 2]), channels // 2
    pooled = g.op("Flatten", g.op("GlobalMaxPool", x))
    return [g.op("LogSoftmax", g.gemm(pooled, channels, 40), axis=-1)]


def shuffling(g: Draft, *, size: int, width: int, blocks: int, groups: int) -> list[str]:
    """Grouped convolutions, channels split and shuffled between them."""
    x = g.op("Relu", g.conv(g.input("image", (3, size, size), pictures), 3, width, 3, stride=2))
    x = g.op("LRN", x, size=5, alpha=1e-3, beta=0.75)
    half = width // 2
    for _ in range(blocks):
        left = g.op("Split", x, outputs=2, axis=1)
        y = g.op("Relu", g.conv(f"{left}_1", half, half, 1, groups=groups))
        y = g.op("Elu", g.conv(g.conv(y, half, half, 3, groups=half), half, half, 1, groups=groups))
        x = g.op("Concat", left, y, axis=1)
        side = size // 2
        x = g.op("Reshape", x, g.shape(0, 2, half, side, side))
        x = g.op("Reshape", g.op("Transpose", x, perm=[0, 2, 1, 3, 4]), g.shape(0, width, side, side))
    x = g.op("Pad", x, g.shape(0, 0, 1, 1, 0, 0, 1, 1), mode="reflect")
    x = g.op("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2])
    return [g.gemm(g.op("Flatten", g.op("GlobalAveragePool", x)), width, 30)]


def snapped(g: Draft, *, size: int, width: int, levels: int, blocks: int) -> list[str]:
    """Trained for few levels: activations are clipped to 0..1 and rounded to multiples of 1/levels."""
    x, channels = g.input("image", (3, size, size), pictures), 3
    for number in range(blocks):
        x = g.batch_norm(g.conv(x, channels, width, 3, stride=2 if number % 2 else 1, bias=False), width)
        x = g.op("Round", g.op("Mul", g.op("Clip", x, g.constant(0.0), g.constant(1.0)), g.constant(float(levels))))
        x, channels = g.op("Mul", x, g.constant(1.0 / levels)), width
    return [g.gemm(g.op("Flatten", g.op("GlobalAveragePool", x)), channels, 20)]


def deep_channels(g: Draft, *, size: int, channels: int, kernel: int, activation: str) -> list[str]:
    """Few places and many channels, as at the end of a large network: convolutions of thousands of terms."""
    x = g.activation(g.conv(g.input("image", (8, size, size), pictures), 8, channels, 1), activation)
    x = g.activation(g.conv(x, channels, 24, kernel), activation)
    x = g.activation(g.conv(x, 24, channels, 1), activation)
    y = g.op("AveragePool", x, kernel_shape=[size, size])
    return [g.conv(x, channels, 16, kernel, gain=1.0), g.gemm(g.op("Flatten", y), channels, 40)]
