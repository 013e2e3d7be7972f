"""How does the page of a data set look, by day and by night?"""

STYLE = """
:root { color-scheme: light dark; --ink: #222; --soft: #555; --page: #fafafa; --card: #fff; --line: #ddd; --bar: #0072B2;
  --present: #ffd0c4; --uncertain: #ffe9a8; --absent: #d3ecd6; --warn: #8a4b00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --soft: #aaa; --page: #16181b; --card: #1f2226;
  --line: #3a3f45; --bar: #56B4E9; --present: #7c2f1d; --uncertain: #6b5510; --absent: #22502a; --warn: #f0b060; } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--page); margin: 0 auto;
  max-width: 1280px; padding: 24px; }
h1 { font-size: 22px; margin: 0; } h2 { font-size: 17px; margin: 34px 0 6px; } h3 { font-size: 14px; margin: 0 0 6px; }
h4 { font-size: 12.5px; margin: 10px 0 0; color: var(--soft); text-transform: uppercase; letter-spacing: .04em; }
p.about, .notes { color: var(--soft); margin: 4px 0 10px; max-width: 95ch; font-size: 13.5px; }
.local { color: var(--warn); font-size: 13.5px; } .synthetic { border: 2px solid var(--warn); border-radius: 6px;
  padding: 6px 12px; display: inline-block; }
.blocks { display: flex; flex-wrap: wrap; gap: 14px; align-items: flex-start; }
section, article { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: 10px 12px;
  max-width: 100%; box-sizing: border-box; overflow-x: auto; }
section svg { width: 320px; max-width: 100%; } svg rect { fill: var(--bar); }
svg text { font: 10px system-ui, sans-serif; fill: var(--soft); }
table { border-collapse: collapse; font-size: 13.5px; } th, td { padding: 3px 10px; text-align: right;
  border-bottom: 1px solid var(--line); white-space: nowrap; font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; padding-left: 0; white-space: normal; }
details { margin: 12px 0; } summary { cursor: pointer; color: var(--soft); }
.sheet { display: flex; flex-wrap: wrap; gap: 10px; align-items: flex-start; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: 6px; width: 184px; }
figure img { display: block; width: 184px; height: 184px; object-fit: contain; background: #000; }
figcaption { font-size: 12px; margin-top: 4px; overflow-wrap: anywhere; } figcaption small { color: var(--soft); }
.unreadable { width: 172px; min-height: 172px; margin: 0; padding: 6px; font-size: 12px; color: var(--warn);
  overflow-wrap: anywhere; }
article { margin-bottom: 14px; } .story { display: flex; gap: 16px; align-items: flex-start; flex-wrap: wrap; }
.story .sheet { max-width: 408px; } .story .text { flex: 1 1 420px; overflow-wrap: anywhere; }
.text p { margin: 2px 0; white-space: pre-wrap; }
mark { color: inherit; border-radius: 3px; padding: 0 2px; } mark.present { background: var(--present); }
mark.uncertain { background: var(--uncertain); } mark.absent { background: var(--absent); }
"""
