// The style sheet of report.html. Colours are those of Okabe and Ito, told apart with any colour vision; shapes repeat what they say.
#pragma once

namespace verge::report {

inline constexpr char kStyle[] = R"css(
:root{color-scheme:light dark;--bg:#fcfcfb;--card:#fff;--ink:#1b1f24;--soft:#5b6570;--rule:#e2e5e8;--grid:#eceef0;--shade:#0072b20d;
--c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#8a5a9e;--c4:#6b7280;--c5:#b8860b;
--ok:#0a6e4e;--okbg:#e3f4ec;--warn:#8a5300;--warnbg:#fdf0d9;--bad:#a3261a;--badbg:#fbe6e3;--mutebg:#eef0f2}
@media(prefers-color-scheme:dark){:root{--bg:#14171a;--card:#1b1f23;--ink:#e8eaec;--soft:#9aa4ae;--rule:#30363c;--grid:#262b30;--shade:#56b4e914;
--c0:#56b4e9;--c1:#f0894a;--c2:#2fc79a;--c3:#cc9adf;--c4:#a3abb5;--c5:#e6c24c;
--ok:#63d2a5;--okbg:#123428;--warn:#f0c06a;--warnbg:#3a2c10;--bad:#f2958a;--badbg:#40201c;--mutebg:#262b30}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;-webkit-text-size-adjust:100%}
main{max-width:1180px;margin:0 auto;padding:28px 20px 56px}
h1{font-size:28px;line-height:1.15;margin:0;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{font-size:18px;margin:44px 0 4px}
h3{font-size:14px;margin:0 0 6px;font-weight:600}
p{margin:4px 0 12px;max-width:72ch;overflow-wrap:anywhere}
.soft,.sub{color:var(--soft)}
.sub{margin:6px 0 22px}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(200px,1fr));gap:1px;background:var(--rule);border:1px solid var(--rule);border-radius:10px;overflow:hidden}
.figures div{background:var(--card);padding:14px 16px}
.figures b{display:block;font-size:24px;line-height:1.2;font-weight:650;letter-spacing:-.01em;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.figures span{color:var(--soft);font-size:13px;display:block;overflow-wrap:anywhere}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;margin:8px 0 4px;padding:0;list-style:none;font-size:13px}
.legend li{white-space:nowrap}
.legend svg{display:inline-block;width:14px;height:14px;vertical-align:-2px;margin-right:6px}
figure{margin:0}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(310px,1fr));gap:26px 34px;margin-top:12px}
figure svg{display:block;width:100%;height:auto;overflow:visible}
.narrow{display:none}
svg text{font-size:12px;fill:var(--ink);paint-order:stroke;font-family:inherit;font-variant-numeric:tabular-nums}
svg .tick{fill:var(--soft);font-size:11px}
svg .name{fill:var(--soft);font-size:12px}
svg .strong{fill:var(--ink);font-weight:600}
svg .label{font-size:11px;fill:var(--soft)}
svg .label.on{font-size:12.5px;font-weight:600;fill:var(--ink)}
svg .grid line,svg .grid{stroke:var(--grid)}
svg .axis{stroke:var(--soft);stroke-opacity:.6}
svg .mark{stroke:var(--soft);stroke-dasharray:2 4}
svg .leader{stroke:var(--soft);stroke-opacity:.45;stroke-width:.8}
svg .front{fill:none;stroke:var(--ink);stroke-width:1.6;stroke-linejoin:round}
svg .below{fill:var(--shade);stroke:none}
svg .line{fill:none;stroke-width:1.8;stroke-linejoin:round}
svg .ghost{fill:none;stroke:var(--grid);stroke-width:1.2}
svg .value{font-size:11px}
.e0{--c:var(--c0)}.e1{--c:var(--c1)}.e2{--c:var(--c2)}.e3{--c:var(--c3)}.e4{--c:var(--c4)}.e5{--c:var(--c5)}
svg .on[class*=e]{fill:var(--c);stroke:var(--bg);stroke-width:1.2}
svg text.on[class]{fill:var(--ink)}
svg text.label[class]{stroke:var(--bg);stroke-opacity:.8;stroke-width:3px;stroke-linejoin:round}
svg .off{fill:var(--bg);stroke:var(--c);stroke-width:1.6}
svg .line{stroke:var(--c)}
svg .bar{fill:var(--c);fill-opacity:.85}
svg .inner{fill:#000;fill-opacity:.28}
.scroll{overflow-x:auto;margin-top:10px}
table{border-collapse:collapse;width:100%;font-size:13px;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:7px 10px 7px 0;border-bottom:1px solid var(--rule);vertical-align:top}
th{font-weight:600;color:var(--soft);font-size:12.5px;white-space:nowrap}
td.n,th.n{text-align:right;white-space:nowrap}
td.id{font-weight:600;white-space:nowrap}
tr.chosen td.id::after{content:"default";margin-left:8px;padding:0 7px;border-radius:99px;background:var(--ink);color:var(--bg);font-weight:400;font-size:11.5px}
.v{display:inline-block;border-radius:99px;padding:0 9px;font-size:12.5px;white-space:nowrap}
.v0{color:var(--ok);background:var(--okbg)}.v1{color:var(--warn);background:var(--warnbg)}.v2{color:var(--bad);background:var(--badbg)}.v3{color:var(--soft);background:var(--mutebg)}
.reasons{list-style:none;margin:10px 0 0;padding:0}
.reasons li{padding:9px 0;border-bottom:1px solid var(--rule);overflow-wrap:anywhere}
.reasons b{margin-right:8px}
.reasons p{margin:2px 0 0}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 18px;margin:10px 0 0;font-size:14px}
dt{color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere}
footer{margin-top:44px;color:var(--soft);font-size:13px}
@media(max-width:640px){
main{padding:18px 14px 40px}h1{font-size:23px}
.wide{display:none}.narrow{display:block}
.figures{grid-template-columns:1fr 1fr}.figures b{font-size:19px}.figures div{padding:11px 12px}
.cards thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.cards,.cards tbody{display:block}
.cards tr{display:grid;grid-template-columns:repeat(3,1fr);gap:7px 10px;padding:12px 0;border-bottom:1px solid var(--rule)}
.cards td{display:block;border:0;padding:0;text-align:left;white-space:normal;overflow-wrap:anywhere}
.cards td.id{grid-column:1/3;white-space:normal}.cards td.verdict{text-align:right}
.cards td[data-k]::before{content:attr(data-k);display:block;color:var(--soft);font-size:11.5px}
dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:8px}
}
@media print{main{max-width:none}h2{break-after:avoid}figure,tr,li{break-inside:avoid}}
)css";

}  // namespace verge::report
