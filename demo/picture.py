"""How a terminal looks in the picture: colors and frame, without fonts from anywhere else."""

from __future__ import annotations

from rich.terminal_theme import TerminalTheme

_DIM, _RED, _GREEN, _YELLOW = (92, 104, 124), (255, 118, 117), (105, 219, 134), (245, 200, 105)
_BLUE, _MAGENTA, _CYAN, _WHITE = (116, 162, 255), (204, 153, 240), (99, 214, 228), (222, 228, 238)
_COLORS = [_DIM, _RED, _GREEN, _YELLOW, _BLUE, _MAGENTA, _CYAN, _WHITE]
THEME = TerminalTheme((17, 21, 30), _WHITE, _COLORS, _COLORS)

FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace;
  font-size: {char_height}px;
  line-height: {line_height}px;
  font-variant-east-asian: full-width;
}}
.{unique_id}-title {{
  font-size: 18px;
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
}}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
  <rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
