// Says when the server is gone or was started anew, and leads back through the login. Gradio loads
// the page anew once the server is back: what was typed in it is shown then, to be copied.
() => {
  if (window.workbenchLooks) return;
  window.workbenchLooks = true;
  const words = [words];
  const EVERY_MS = 3000;
  let server = null;
  let bar = null;

  // Text alone, and never what a password's field holds.
  const KEPT = 'workbench-typed';
  const MOST = 5;
  const typed = new Map();
  addEventListener('input', ({ target }) => {
    if (!target.matches?.('textarea, input[type=text], input:not([type])')) return;
    typed.delete(target);
    typed.set(target, target.closest('label')?.innerText.trim() ?? '');
  });
  addEventListener('pagehide', () => {
    const lost = bar?.dataset.kind === 'gone' || document.querySelector('.toast-body.error');
    const found = [...typed].map(([field, name]) => [name, field.value]).filter(([, x]) => x);
    if (lost && found.length) sessionStorage.setItem(KEPT, JSON.stringify(found.slice(-MOST)));
  });
  const show = (found) => {
    const kept = document.createElement('div');
    kept.id = 'typed';
    kept.setAttribute('role', 'status');
    const said = document.createElement('span');
    said.textContent = words.typed;
    kept.append(said);
    for (const [name, value] of found) {
      const field = document.createElement('textarea');
      field.readOnly = true;
      field.value = value;
      field.setAttribute('aria-label', name);
      kept.append(field);
    }
    const button = document.createElement('button');
    button.textContent = words.done;
    button.onclick = () => kept.remove();
    kept.append(button);
    document.body.append(kept);
  };

  const say = (kind) => {
    if (bar?.dataset.kind === kind) return;
    bar?.remove();
    bar = null;
    if (!kind) return;
    bar = document.createElement('div');
    bar.id = 'away';
    bar.dataset.kind = kind;
    bar.setAttribute('role', 'alert');
    const said = document.createElement('span');
    said.textContent = words[kind];
    bar.append(said);
    if (kind !== 'gone') {
      const button = document.createElement('button');
      button.textContent = words[kind === 'login' ? 'to_login' : 'reload'];
      button.onclick = () => location.reload();
      bar.append(button);
    }
    document.body.append(bar);
  };

  const look = async () => {
    let kind = null;
    try {
      const answer = await fetch('workbench/alive', { cache: 'no-store' });
      if (answer.status === 401) kind = 'login';
      else if (!answer.ok) kind = 'gone';
      else {
        const told = await answer.json();
        server ??= told.server;
        if (told.server !== server) kind = 'anew';
      }
    } catch {
      kind = 'gone';
    }
    say(kind);
  };
  const rounds = async () => {
    if (!document.hidden) await look();
    setTimeout(rounds, EVERY_MS);
  };
  const before = sessionStorage.getItem(KEPT);
  sessionStorage.removeItem(KEPT);
  if (before) show(JSON.parse(before));
  rounds();
}
