// Keeps the workspace in memory, draws the chosen channel, and acts for the person at the page.
"use strict";

const state = { channels: new Map(), open: null, bot: "", read: new Map(), can: {} };
const byId = (id) => document.getElementById(id);
const names = {
  user: (id) => (id === state.bot ? "tocsin" : id === "U0YOU" ? "you" : id),
  channel: (id) => state.channels.get(id)?.name || id,
};

function absorb(data, everything) {
  if (everything) state.channels.clear();
  state.bot = data.bot;
  state.can = data.can;
  const touched = new Set();
  for (const channel of data.channels) {
    let known = state.channels.get(channel.id);
    if (!known) {
      known = { id: channel.id, name: channel.name, messages: new Map() };
      state.channels.set(channel.id, known);
    }
    for (const message of channel.messages) {
      if (message.deleted) known.messages.delete(message.ts);
      else known.messages.set(message.ts, message);
      touched.add(channel.id);
    }
  }
  if (!state.channels.has(state.open)) choose(location.hash.slice(1) || data.channels[0]?.id);
  drawSidebar();
  drawBar();
  if (everything || touched.has(state.open)) drawChannel(everything);
}

function choose(id) {
  if (!state.channels.has(id)) id = state.channels.keys().next().value;
  if (!id) return;
  state.open = id;
  history.replaceState(null, "", "#" + id);
  drawSidebar();
  drawChannel(true);
}

const lastTs = (channel) => [...channel.messages.keys()].reduce((a, b) => (a > b ? a : b), "");

function drawSidebar() {
  const list = byId("channels");
  const open = state.channels.get(state.open);
  if (open && document.visibilityState === "visible") state.read.set(open.id, lastTs(open));
  const rows = [...state.channels.values()].map((channel) => {
    if (!state.read.has(channel.id)) state.read.set(channel.id, lastTs(channel));
    const seen = state.read.get(channel.id);
    const unread = [...channel.messages.values()].filter((message) => message.ts > seen).length;
    const button = element("button", "channel", element("span", "hash", "#"), element("span", "name", channel.name));
    if (channel.id === state.open) button.classList.add("open");
    if (unread) {
      button.classList.add("unread");
      button.append(element("span", "count", String(unread)));
    }
    button.addEventListener("click", () => choose(channel.id));
    return element("li", "", button);
  });
  list.replaceChildren(...rows);
}

function drawBar() {
  const { can } = state;
  byId("fire").hidden = !can.alert;
  byId("kill").hidden = !can.kill;
  byId("composer").hidden = !can.write;
  byId("cause-label").hidden = !can.causes.length;
  const select = byId("cause");
  if (select.options.length === can.causes.length) return;
  select.replaceChildren(...can.causes.map(([name, about]) => {
    const option = element("option", "", about);
    option.value = name;
    option.selected = name === can.cause;
    return option;
  }));
}

function drawChannel(jump) {
  const channel = state.channels.get(state.open);
  if (!channel) return;
  byId("title").replaceChildren(element("span", "hash", "#"), channel.name);
  byId("text").placeholder = "Message #" + channel.name + " (mention @tocsin to ask it)";
  const box = byId("messages");
  const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 120;
  const all = [...channel.messages.values()].sort((a, b) => (a.ts < b.ts ? -1 : 1));
  const nodes = [];
  let day = "";
  for (const root of all.filter((message) => !message.thread_ts || message.thread_ts === message.ts)) {
    const today = new Date(root.posted_at).toDateString();
    if (today !== day) nodes.push(element("div", "day", element("span", "", dayName(root.posted_at))));
    day = today;
    nodes.push(withReplies(root, all.filter((reply) => reply.thread_ts === root.ts && reply.ts !== root.ts)));
  }
  const roots = new Set(all.map((message) => message.ts));
  const orphans = new Map();
  for (const reply of all.filter((message) => message.thread_ts && !roots.has(message.thread_ts))) {
    orphans.set(reply.thread_ts, [...(orphans.get(reply.thread_ts) || []), reply]);
  }
  for (const [, replies] of orphans) {
    const thread = element("div", "thread", ...replies.map(drawMessage));
    nodes.push(element("div", "orphan", element("div", "quiet", "Thread of a message that is not here"), thread));
  }
  if (!nodes.length) nodes.push(element("p", "quiet empty", "No messages yet. Fire an alert, or write to @tocsin."));
  box.replaceChildren(...nodes);
  if (jump || atEnd) box.scrollTop = box.scrollHeight;
}

function withReplies(root, replies) {
  const drawn = drawMessage(root);
  if (!replies.length) return drawn;
  const count = element("div", "replies", replies.length + (replies.length === 1 ? " reply" : " replies"));
  drawn.querySelector(".body").append(count, element("div", "thread", ...replies.map(drawMessage)));
  return drawn;
}

const clock = (at) => new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
function dayName(at) {
  const date = new Date(at);
  if (date.toDateString() === new Date().toDateString()) return "Today";
  return date.toLocaleDateString([], { weekday: "long", month: "long", day: "numeric" });
}

function drawMessage(message) {
  const avatar = element("div", "avatar " + (message.is_bot ? "bot" : "person"), message.is_bot ? "🔔" : names.user(message.user).slice(0, 1).toUpperCase());
  const head = element("div", "head", element("b", "", message.is_bot ? "Tocsin" : names.user(message.user)));
  if (message.is_bot) head.append(element("span", "app", "APP"));
  const posted = element("time", "", clock(message.posted_at));
  posted.title = "ts " + message.ts;
  head.append(posted);
  if (message.ephemeral_to) head.append(element("span", "edited", "only visible to " + names.user(message.ephemeral_to)));
  const content = element("div", "content");
  if (message.blocks.length) content.append(...message.blocks.map((block) => drawBlock(block, message)));
  else content.append(...mrkdwn(message.text, names));
  const body = element("div", "body", head, content);
  if (message.updates) {
    const edited = element("span", "edited", "(edited " + clock(message.updated_at) + ")");
    edited.title = message.updates + (message.updates === 1 ? " update" : " updates");
    content.append(edited);
  }
  if (message.reactions.length) {
    const marks = message.reactions.map((reaction) => element("span", "reaction", emojify(":" + reaction.name + ":") + " " + reaction.users.length));
    body.append(element("div", "reactions", ...marks));
  }
  return element("article", "message", avatar, body);
}

function drawText(text) {
  if (!text) return [];
  if (text.type === "mrkdwn") return mrkdwn(text.text, names);
  return [emojify(unescapeEntities(text.text || ""))];
}

function drawBlock(block, message) {
  switch (block.type) {
    case "header": return element("h3", "", ...drawText(block.text));
    case "divider": return element("hr", "");
    case "context": return element("div", "context", ...(block.elements || []).map((part) =>
      element("span", "", ...(part.type === "image" ? [part.alt_text || ""] : drawText(part)))));
    case "actions": return element("div", "actions", ...(block.elements || []).map((part) => drawElement(part, block, message)));
    case "markdown": return element("div", "section", ...mrkdwn(block.text || "", names));
    case "image": return element("div", "picture", "🖼 " + (block.alt_text || ""));
    case "rich_text": return element("div", "section", ...mrkdwn(plain(block), names));
    case "section": {
      const section = element("div", "section");
      const words = element("div", "words", ...drawText(block.text));
      if (block.fields) words.append(element("div", "fields", ...block.fields.map((field) => element("div", "", ...drawText(field)))));
      section.append(words);
      if (block.accessory) section.append(drawElement(block.accessory, block, message));
      return section;
    }
    default: return element("div", "quiet", "block of type " + block.type);
  }
}

const plain = (value) => Array.isArray(value) ? value.map(plain).join("")
  : (value.text && typeof value.text === "string" ? value.text : "") + (value.elements ? plain(value.elements) : "");

function drawElement(part, block, message) {
  if (part.type !== "button") return element("span", "quiet", part.type);
  const button = element("button", "kit" + (part.style ? " " + part.style : ""), ...drawText(part.text));
  button.addEventListener("click", async () => {
    button.disabled = true;
    await send("/standin/actions", { channel: message.channel, ts: message.ts, block_id: block.block_id, action_id: part.action_id });
    button.disabled = false;
  });
  return button;
}

async function send(path, body) {
  try {
    const answer = await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
    const told = await answer.json();
    toast(told.text, answer.ok);
    return answer.ok;
  } catch (error) {
    toast("The stand-in did not answer: " + error.message, false);
    return false;
  }
}

function toast(text, good) {
  const note = element("div", "toast " + (good ? "good" : "bad"), (good ? "✓ " : "✗ ") + text);
  byId("toasts").append(note);
  setTimeout(() => note.remove(), 6000);
}

byId("fire").addEventListener("click", () => send("/standin/alert", { cause: byId("cause").value || null }));
byId("kill").addEventListener("click", () => send("/standin/kill", {}));
byId("composer").addEventListener("submit", async (event) => {
  event.preventDefault();
  const field = byId("text");
  const text = field.value.trim();
  if (!text) return;
  field.value = "";
  await send("/standin/messages", { channel: state.open, text });
});
document.addEventListener("visibilitychange", drawSidebar);
window.addEventListener("hashchange", () => choose(location.hash.slice(1)));

const source = new EventSource("/standin/changes");
source.addEventListener("everything", (event) => absorb(JSON.parse(event.data), true));
source.addEventListener("changes", (event) => absorb(JSON.parse(event.data), false));
source.addEventListener("open", () => { byId("link").textContent = "● Live"; byId("link").className = "live"; });
source.addEventListener("error", () => { byId("link").textContent = "○ Reconnecting …"; byId("link").className = ""; });
