// Slack's mrkdwn to DOM nodes. Text only ever becomes text nodes: no markup is parsed as HTML.
"use strict";

const EMOJI = {
  white_check_mark: "✅", heavy_check_mark: "✔️", hourglass_flowing_sand: "⏳", hourglass: "⌛", x: "❌", mag: "🔍",
  rotating_light: "🚨", warning: "⚠️", fire: "🔥", fox_face: "🦊", dart: "🎯", bell: "🔔", eyes: "👀", rocket: "🚀",
  bug: "🐛", wrench: "🔧", hammer_and_wrench: "🛠️", gear: "⚙️", stopwatch: "⏱️", timer_clock: "⏲️", clock3: "🕒",
  red_circle: "🔴", large_orange_circle: "🟠", large_yellow_circle: "🟡", large_green_circle: "🟢", large_blue_circle: "🔵",
  white_circle: "⚪", black_circle: "⚫", "+1": "👍", thumbsup: "👍", "-1": "👎", thumbsdown: "👎", tada: "🎉", bulb: "💡",
  chart_with_upwards_trend: "📈", chart_with_downwards_trend: "📉", bar_chart: "📊", memo: "📝", pushpin: "📌",
  link: "🔗", lock: "🔒", unlock: "🔓", key: "🔑", robot_face: "🤖", brain: "🧠", recycle: "♻️", repeat: "🔁",
  arrows_counterclockwise: "🔄", arrow_right: "➡️", arrow_up: "⬆️", arrow_down: "⬇️", no_entry: "⛔", no_entry_sign: "🚫",
  octagonal_sign: "🛑", question: "❓", exclamation: "❗", grey_question: "❔", information_source: "ℹ️", page_facing_up: "📄",
  clipboard: "📋", package: "📦", floppy_disk: "💾", electric_plug: "🔌", construction: "🚧", skull: "💀", zap: "⚡",
  speech_balloon: "💬", raised_hands: "🙌", pray: "🙏", wave: "👋", heavy_minus_sign: "➖", heavy_plus_sign: "➕",
  double_vertical_bar: "⏸️", pause_button: "⏸️", arrow_forward: "▶️", black_square_for_stop: "⏹️", compass: "🧭",
};

function element(tag, name, ...children) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  made.append(...children);
  return made;
}

function unescapeEntities(text) {
  return text.replace(/&(lt|gt|amp);/g, (_, name) => ({ lt: "<", gt: ">", amp: "&" })[name]);
}

function emojify(text) {
  return text.replace(/:([a-z0-9_+-]+):/g, (all, name) => EMOJI[name] || all);
}

// Only web and mail addresses become links.
function safeLink(address) {
  return /^(https?:\/\/|mailto:)/i.test(address) ? address : null;
}

const INLINE = new RegExp([
  "`([^`\\n]+)`",                                        // 1 code
  "<([^<>\\n]+)>",                                       // 2 link, mention, channel
  "(?<![\\w*])\\*(?=\\S)([^*\\n]*[^*\\s])\\*(?![\\w*])", // 3 bold
  "(?<![\\w_])_(?=\\S)([^\\n]*?[^_\\s])_(?![\\w_])",     // 4 italic
  "(?<![\\w~])~(?=\\S)([^~\\n]*[^~\\s])~(?![\\w~])",     // 5 struck
].join("|"), "g");

function inline(text, names) {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(INLINE)) {
    if (match.index > end) nodes.push(emojify(unescapeEntities(text.slice(end, match.index))));
    end = match.index + match[0].length;
    const [, code, angle, bold, italic, struck] = match;
    if (code !== undefined) nodes.push(element("code", "", unescapeEntities(code)));
    else if (angle !== undefined) nodes.push(angled(angle, names));
    else if (bold !== undefined) nodes.push(element("b", "", ...inline(bold, names)));
    else if (italic !== undefined) nodes.push(element("i", "", ...inline(italic, names)));
    else nodes.push(element("s", "", ...inline(struck, names)));
  }
  if (end < text.length) nodes.push(emojify(unescapeEntities(text.slice(end))));
  return nodes;
}

function angled(inside, names) {
  const bar = inside.indexOf("|");
  const target = bar < 0 ? inside : inside.slice(0, bar);
  const label = bar < 0 ? null : unescapeEntities(inside.slice(bar + 1));
  if (target.startsWith("@")) return element("span", "mention", "@" + (label || names.user(target.slice(1))));
  if (target.startsWith("#")) return element("span", "mention", "#" + (label || names.channel(target.slice(1))));
  if (target.startsWith("!")) return element("span", "mention", label || "@" + target.slice(1).split("^")[0]);
  const address = safeLink(unescapeEntities(target));
  if (!address) return document.createTextNode("<" + unescapeEntities(inside) + ">");
  const link = element("a", "", label || address);
  link.href = address;
  link.target = "_blank";
  link.rel = "noopener noreferrer";
  return link;
}

// Blocks of lines: fenced code, quotes, lists, paragraphs.
function mrkdwn(text, names) {
  const nodes = [];
  String(text).split("```").forEach((part, index) => {
    if (index % 2 === 1) {
      nodes.push(element("pre", "", unescapeEntities(part.replace(/^\n/, "").replace(/\n$/, ""))));
      return;
    }
    let lines = part.split("\n");
    if (index > 0 && lines[0] === "") lines = lines.slice(1);
    if (part === "") return;
    for (let at = 0; at < lines.length; at++) {
      const line = lines[at];
      const item = line.match(/^(\s*)(?:[•◦▪\-]|(\d+)\.)\s+(.*)$/);
      if (item) {
        const row = element("div", "item" + (item[1].length > 1 ? " deep" : ""));
        row.append(element("span", "bullet", item[2] ? item[2] + "." : "•"), element("span", "", ...inline(item[3], names)));
        nodes.push(row);
      } else if (/^(>|&gt;)/.test(line)) {
        nodes.push(element("blockquote", "", ...inline(line.replace(/^(>|&gt;)\s?/, ""), names)));
      } else if (line.trim() === "") {
        if (at + 1 < lines.length) nodes.push(element("div", "gap"));
      } else {
        nodes.push(element("div", "line", ...inline(line, names)));
      }
    }
  });
  return nodes;
}
