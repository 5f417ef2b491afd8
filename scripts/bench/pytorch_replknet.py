"""RepLKNet in PyTorch, as plain as the paper's description: the peer that compare_pytorch.py times."""
from torch import nn


def conv_bn(cin, cout, kernel=1, stride=1, groups=1, relu=False, merged=False):
    conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=merged)
    layers = [conv] + ([] if merged else [nn.BatchNorm2d(cout)]) + ([nn.ReLU()] if relu else [])
    return nn.Sequential(*layers)


class LargeKernel(nn.Module):
    def __init__(self, channels, kernel, small, merged):
        super().__init__()
        self.large = conv_bn(channels, channels, kernel, groups=channels, merged=merged)
        self.small = conv_bn(channels, channels, small, groups=channels) if small and not merged else None

    def forward(self, x):
        return self.large(x) + self.small(x) if self.small else self.large(x)


class RepLKBlock(nn.Module):
    def __init__(self, channels, width, kernel, small, merged):
        super().__init__()
        self.body = nn.Sequential(
            *([] if merged else [nn.BatchNorm2d(channels)]),
            conv_bn(channels, width, relu=True, merged=merged),
            LargeKernel(width, kernel, small, merged), nn.ReLU(),
            conv_bn(width, channels, merged=merged))

    def forward(self, x):
        return x + self.body(x)


class ConvFFN(nn.Module):
    def __init__(self, channels, hidden, merged):
        super().__init__()
        self.body = nn.Sequential(
            *([] if merged else [nn.BatchNorm2d(channels)]),
            conv_bn(channels, hidden, merged=merged), nn.GELU(), conv_bn(hidden, channels, merged=merged))

    def forward(self, x):
        return x + self.body(x)


def replknet(config, merged=False):
    """`config`: the options of the network, by the published names."""
    c, layers = config["channels"], []

    def add(cin, cout, kernel=1, stride=1, groups=1):
        layers.append(conv_bn(cin, cout, kernel, stride, groups, relu=True, merged=merged))

    add(config["in_channels"], c[0], 3, config["stem_strides"][0])
    add(c[0], c[0], 3, 1, c[0])
    add(c[0], c[0])
    add(c[0], c[0], 3, config["stem_strides"][1], c[0])
    for stage, kernel in enumerate(config["large_kernel_sizes"]):
        width, hidden = int(c[stage] * config["dw_ratio"]), int(c[stage] * config["ffn_ratio"])
        for _ in range(config["layers"][stage]):
            layers.append(RepLKBlock(c[stage], width, kernel, config["small_kernel"], merged))
            layers.append(ConvFFN(c[stage], hidden, merged))
        if stage + 1 < len(c):
            add(c[stage], c[stage + 1])
            add(c[stage + 1], c[stage + 1], 3, 2, c[stage + 1])
    tail = [] if merged else [nn.BatchNorm2d(c[-1])]
    return nn.Sequential(*layers, *tail, nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(c[-1], config["num_classes"]))
