"""Colours, style sheet and script of the HTML form. Tests compute the contrast of every pair of colours."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Palette:
    """Colours by role."""

    page: str
    text: str
    quiet: str
    line: str
    head: str
    code: str
    link: str
    accent: str
    warning: str
    answer: str
    button: str


LIGHT = Palette(
    page="#ffffff", text="#1b1f24", quiet="#57606a", line="#d0d7de", head="#f3f5f7", code="#f3f5f7", link="#0550ae",
    accent="#b4490a", warning="#fff4e8", answer="#eef5fc", button="#ffffff",
)  # fmt: skip
DARK = Palette(
    page="#12161b", text="#e4e8ec", quiet="#a3acb6", line="#3a424c", head="#1c232b", code="#1c232b", link="#7db8ff",
    accent="#ffa657", warning="#2e2113", answer="#14263a", button="#12161b",
)  # fmt: skip
PAIRS = (
    ("text", "page"), ("text", "head"), ("text", "code"), ("text", "warning"), ("text", "answer"), ("text", "button"),
    ("quiet", "page"), ("link", "page"), ("link", "answer"), ("link", "warning"), ("accent", "page"),
)  # fmt: skip
"""Which colour of letters is on which background."""

RULES = """
*{box-sizing:border-box}
html{color-scheme:light dark;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--text);font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:72rem;margin:0 auto;padding:1.5rem 1.25rem 4rem}
h1{font-size:1.75rem;line-height:1.2;margin:.2rem 0 1rem}
h2{font-size:1.3rem;line-height:1.25;margin:2.6rem 0 .8rem;padding-bottom:.3rem;border-bottom:1px solid var(--line)}
h3,h4{font-size:1.05rem;line-height:1.3;margin:1.8rem 0 .5rem}
p,ul,.facts{max-width:62rem}
p,ul{margin:.7rem 0}
li{margin:.25rem 0}
a{color:var(--link)}
a:focus-visible,button:focus-visible,summary:focus-visible,.scroll:focus-visible{
outline:3px solid var(--link);outline-offset:2px}
.skip{position:absolute;left:-99rem}
.skip:focus{left:1rem;top:1rem;background:var(--page);padding:.5rem 1rem}
.answer{background:var(--answer);border-left:5px solid var(--link);border-radius:4px;padding:.9rem 1.1rem;
font-size:1.2rem;line-height:1.45;font-weight:600}
.warning{background:var(--warning);border-left:5px solid var(--accent);border-radius:4px;padding:.7rem 1.1rem}
.facts{display:grid;grid-template-columns:max-content 1fr;gap:.45rem 1.2rem;margin:1rem 0}
.facts dt{font-weight:600}
.facts dd{margin:0}
code,pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.875em}
code{background:var(--code);border-radius:3px;padding:.1em .3em;overflow-wrap:anywhere}
pre{background:var(--code);border:1px solid var(--line);border-radius:4px;padding:.9rem 1rem;overflow-x:auto;margin:0}
pre code{background:none;padding:0;overflow-wrap:normal}
.command{position:relative;margin:1rem 0}
.command button{position:absolute;top:.5rem;right:.5rem;font:inherit;font-size:.85rem;padding:.2rem .7rem;
color:var(--text);background:var(--button);border:1px solid var(--line);border-radius:4px;cursor:pointer}
.scroll{overflow-x:auto;margin:1rem 0}
table{border-collapse:collapse;font-size:.875rem;min-width:40%}
th,td{border-bottom:1px solid var(--line);padding:.4rem .6rem;text-align:left;vertical-align:top}
thead th{background:var(--head);vertical-align:bottom}
tbody th{font-weight:400;white-space:nowrap}
td code{overflow-wrap:normal}
td.long code{display:inline-block}
.number{text-align:right;font-variant-numeric:tabular-nums}
td.number{white-space:nowrap}
td{min-width:4.5rem}
td.long{min-width:17rem}
figure{margin:1.4rem 0}
figure img,figure svg{display:block;max-width:100%;height:auto;border:1px solid var(--line);
border-radius:4px}
figure img{background:#fff}
figcaption{color:var(--quiet);font-size:.9rem;margin-top:.4rem}
details{border:1px solid var(--line);border-radius:4px;margin:.8rem 0;padding:0 1rem}
details[open]{padding-bottom:.6rem}
summary{cursor:pointer;padding:.6rem 0}
summary h2,summary h3,summary h4{display:inline;border:0;margin:0;font-size:1rem}
nav ul{list-style:none;padding:0;margin:0;display:flex;flex-wrap:wrap;gap:.1rem 1.1rem;font-size:.9rem}
footer{color:var(--quiet);font-size:.85rem;margin-top:3rem}
@media (max-width:40rem){
.facts{grid-template-columns:1fr;gap:.1rem}.facts dd{margin-bottom:.6rem}h1{font-size:1.4rem}.answer{font-size:1.1rem}
figure{overflow-x:auto}figure svg,figure img{width:38rem;max-width:none}}
@media print{
body{font-size:10pt}main{max-width:none;padding:0}nav,.skip,.command button{display:none}
h2{break-after:avoid;margin-top:1.4rem}figure,tr,pre,.answer,.warning{break-inside:avoid}
figure svg,figure img{max-width:17cm}.scroll{overflow:visible}table{font-size:7.5pt}th,td{padding:.25rem .35rem}
tbody th,td.number{white-space:normal}td.long{min-width:0}td code,th code{overflow-wrap:anywhere}
pre{white-space:pre-wrap}
details{border:0;padding:0}a{color:inherit}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
"""

SCRIPT = """
for (const box of document.querySelectorAll(".command")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.setAttribute("aria-label", "Copy " + box.dataset.label);
  button.addEventListener("click", async () => {
    const text = box.querySelector("code").textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      const range = document.createRange();
      range.selectNodeContents(box.querySelector("code"));
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  box.append(button);
}
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const one of opened) one.open = true;
});
addEventListener("afterprint", () => { for (const one of opened) one.open = false; });
addEventListener("hashchange", reveal);
function reveal() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
}
reveal();
"""


def style_sheet() -> str:
    """All rules, with the light colours, and the dark ones where the reader prefers them (never on paper)."""
    light, dark = _variables(LIGHT), _variables(DARK)
    return f":root{{{light}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}{RULES}"


def _variables(palette: Palette) -> str:
    return ";".join(f"--{field.name}:{getattr(palette, field.name)}" for field in fields(palette))
