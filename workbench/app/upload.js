// Sends files in pieces. Where a line breaks, the server is asked how much has arrived, and the
// rest is sent; where the server refuses a file, its sentence stands beside the file's name.
const PIECE = 4 * 1024 * 1024;
const PAUSES_S = [1, 2, 4, 8, 15, 30];
const MOST_SHOWN = 200;

const zone = element.querySelector('.drop');
const input = element.querySelector('input[type=file]');
const list = element.querySelector('.sent');
const sum = element.querySelector('.sum');
const queue = [];
let busy = false;
let sent = 0;
let refused = 0;
let total = 0;

const say = (words, values) =>
  words.replace(/\[(\w+)\]/g, (_, name) => (name in values ? values[name] : `[${name}]`));
const size = (bytes) =>
  bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB`
    : `${(bytes / 1e9).toFixed(2)} GB`;
const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

class Refused extends Error {}

async function ask(method, path, body, type) {
  const headers = type ? { 'Content-Type': type } : {};
  const answer = await fetch(`workbench/upload${path}`, { method, body, headers });
  const told = await answer.json().catch(() => ({}));
  if (answer.ok) return told;
  const reason = typeof told.detail === 'string' ? told.detail : `${answer.status}`;
  if (answer.status < 500 && answer.status !== 408 && answer.status !== 429)
    throw new Refused(reason);
  throw new Error(reason);
}

// Names come from the user's disk: they are put in as text, never as HTML.
function row(file) {
  const line = document.createElement('li');
  const name = document.createElement('span');
  const bar = document.createElement('progress');
  const note = document.createElement('span');
  name.className = 'name';
  note.className = 'note';
  name.textContent = file.name;
  note.textContent = size(file.size);
  bar.max = Math.max(1, file.size);
  bar.value = 0;
  bar.setAttribute('aria-label', file.name);
  line.append(name, bar, note);
  if (list.childElementCount < MOST_SHOWN) list.append(line);
  return { line, bar, note };
}

function count() {
  const left = queue.length + (busy ? 1 : 0);
  const values = { done: sent, total, refused };
  sum.textContent = !total ? '' : left ? say(props.sending, values) : say(props.all, values);
  zone.dataset.state = left ? 'sending' : total ? 'done' : 'idle';
}

async function pieces(file, folder, shown) {
  const about = JSON.stringify(
    { folder, name: file.name, size: file.size, modified: String(file.lastModified) });
  let at = await ask('POST', '', about, 'application/json');
  while (at.offset < file.size) {
    const piece = file.slice(at.offset, at.offset + PIECE);
    at = await ask('PUT', `/${at.id}?offset=${at.offset}`, piece, 'application/octet-stream');
    shown.bar.value = at.offset;
    shown.note.textContent = `${Math.floor((100 * at.offset) / file.size)} %`;
  }
  return ask('POST', `/${at.id}/finish`);
}

async function send({ file, folder, shown }) {
  for (let tries = 0; ; tries += 1) {
    const before = shown.bar.value;
    try {
      const told = await pieces(file, folder, shown);
      shown.bar.value = shown.bar.max;
      shown.line.className = 'done';
      const aside = told.set_aside || [];
      shown.note.textContent = say(props.done, { count: told.written ?? 1 });
      if (aside.length) {
        shown.note.textContent += ' ' + say(props.kept, { count: aside.length });
        shown.note.title = aside.map((pair) => pair.join(': ')).join('\n');
      }
      sent += 1;
      return;
    } catch (problem) {
      if (problem instanceof Refused) {
        shown.line.className = 'refused';
        shown.note.textContent = say(props.refused, { reason: problem.message });
        if (!shown.line.isConnected) list.append(shown.line);
        refused += 1;
        return;
      }
      if (shown.bar.value > before) tries = 0; // it went on for a while: be patient again
      const seconds = PAUSES_S[Math.min(tries, PAUSES_S.length - 1)];
      shown.note.textContent = say(props.broken, { seconds });
      await pause(seconds);
    }
  }
}

async function work() {
  if (busy) return;
  busy = true;
  while (queue.length) {
    count();
    await send(queue.shift());
  }
  busy = false;
  count();
  trigger('upload');
}

function take(files) {
  const folder = document.querySelector('#upload-name input, #upload-name textarea')?.value.trim();
  for (const file of files) {
    total += 1;
    const shown = row(file);
    shown.line.className = 'waiting';
    queue.push({ file, folder: folder || 'pictures', shown });
  }
  count();
  work();
}

// A dropped folder gives its files, those of folders inside as well.
async function entries(entry) {
  if (entry.isFile) return [await new Promise((done, fail) => entry.file(done, fail))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!some.length) break;
    for (const one of some) found.push(...(await entries(one)));
  }
  return found.filter((file) => !file.name.startsWith('.'));
}

element.querySelector('.choose').addEventListener('click', () => input.click());
input.addEventListener('change', () => {
  take([...input.files]);
  input.value = '';
});
for (const kind of ['dragenter', 'dragover'])
  zone.addEventListener(kind, (event) => {
    event.preventDefault();
    zone.classList.add('over');
  });
for (const kind of ['dragleave', 'drop'])
  zone.addEventListener(kind, () => zone.classList.remove('over'));
zone.addEventListener('drop', async (event) => {
  event.preventDefault();
  const dropped = [...event.dataTransfer.items]
    .map((item) => item.webkitGetAsEntry?.())
    .filter(Boolean);
  const plain = [...event.dataTransfer.files];
  if (!dropped.length) return take(plain);
  const found = [];
  for (const entry of dropped) found.push(...(await entries(entry)));
  take(found);
});
window.addEventListener('beforeunload', (event) => {
  if (busy) event.preventDefault();
});
