"""The style sheet of the HTML report: light and dark, wide and narrow, with the reader's own fonts."""

STYLE = """
:root { --ground: #fbfbfa; --panel: #fff; --ink: #1c2024; --faint: #626b74; --line: #dfe3e6; --main: #2563a8;
  --main-soft: #c7d9ec; --second: #c2590c; --wrong: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171a; --panel: #1c2024; --ink: #e8eaec; --faint: #9aa4ad;
  --line: #343b42; --main: #7db4ea; --main-soft: #2d4a68; --second: #f0a05a; --wrong: #f2938c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, "Apple SD Gothic Neo", "Malgun Gothic", "Noto Sans KR", "Noto Sans CJK KR", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 24px 16px 64px; }
h1 { font-size: 26px; margin: 0 0 12px; }
h2 { font-size: 18px; margin: 32px 0 8px; }
h3 { font-size: 13px; font-weight: 500; color: var(--faint); margin: 0; }
i { font-style: normal; color: var(--faint); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; margin: 0; }
dt { color: var(--faint); }
dd { margin: 0; overflow-wrap: anywhere; }
.notes { margin: 16px 0 0; padding: 10px 16px 10px 32px; border-left: 3px solid var(--second); background: var(--panel);
  overflow-wrap: anywhere; }
.small { font-size: 13px; color: var(--faint); margin: 8px 0 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(160px, 1fr)); gap: 12px; margin-top: 20px; }
.cards div { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; }
.cards b { display: block; font-size: 28px; line-height: 1.3; font-variant-numeric: tabular-nums; }
.cards span { display: block; font-size: 13px; font-variant-numeric: tabular-nums; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 0 40px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { font-size: 13px; font-weight: 500; color: var(--faint); }
th, td { text-align: right; padding: 4px 0 4px 14px; border-bottom: 1px solid var(--line); white-space: nowrap; }
.name { text-align: left; padding-left: 0; padding-right: 14px; white-space: normal; overflow-wrap: anywhere;
  min-width: 5em; }
.meter { display: inline-block; width: 56px; height: 6px; margin-left: 8px; border-radius: 3px; background: var(--line);
  vertical-align: middle; overflow: hidden; }
.meter span { display: block; height: 100%; background: var(--main); }
.charts { display: flex; flex-wrap: wrap; gap: 16px 32px; margin-top: 16px; }
.charts figure { margin: 0; flex: 1 1 300px; max-width: 420px; }
svg { width: 100%; height: auto; display: block; }
svg text { font-size: 11px; fill: var(--faint); }
.grid { stroke: var(--line); fill: none; }
.bar { fill: var(--main-soft); stroke: var(--main); }
.whisker { stroke: var(--ink); }
.ideal { stroke: var(--second); stroke-dasharray: 5 4; stroke-width: 1.5; fill: none; }
.line { fill: none; stroke-width: 2; }
.line.coverage { stroke: var(--main); }
.line.accuracy { stroke: var(--second); }
circle.coverage { fill: var(--main); }
circle.accuracy { fill: var(--second); }
figcaption { font-size: 13px; color: var(--faint); margin-top: 4px; }
.key { border-bottom: 3px solid; color: var(--ink); }
.key.coverage { border-color: var(--main); }
.key.accuracy { border-color: var(--second); }
.clips { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 16px; }
.clips figure { margin: 0; background: var(--panel); border: 1px solid var(--line); border-radius: 8px;
  overflow: hidden; }
.clips img { display: block; width: 100%; aspect-ratio: 1; background: #000; }
.clips figcaption { margin: 0; padding: 8px 10px; color: var(--ink); overflow-wrap: anywhere; }
.clips small { display: block; color: var(--faint); font-size: 11px; line-height: 1.35; margin-top: 4px; }
.wrong { color: var(--wrong); }
@media (max-width: 520px) { table { font-size: 14px; }
  .meter { display: none; } th, td { padding-left: 8px; } th { white-space: normal; }
  .columns .name { min-width: 4em; } }
@media print { .scroll { overflow: visible; } section { break-inside: avoid; } }
"""
