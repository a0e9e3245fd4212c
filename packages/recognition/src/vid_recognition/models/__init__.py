"""Networks for action recognition: recognizers, backbones (one file per architecture), heads, losses, preprocessing."""
