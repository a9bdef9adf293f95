// The loupe: both pictures of a pair are enlarged about the same point.
for (const frame of document.querySelectorAll(".frame")) {
  const range = frame.querySelector("input");
  const isOn = () => document.getElementById("pictures").className === "loupe";
  const point = { x: 0.5, y: 0.5 };
  const look = (x, y) => {
    point.x = Math.min(1, Math.max(0, x));
    point.y = Math.min(1, Math.max(0, y));
    frame.style.setProperty("--x", 100 * point.x + "%");
    frame.style.setProperty("--y", 100 * point.y + "%");
    frame.classList.add("near");
  };
  const follow = (event) => {
    if (!isOn()) return;
    const box = frame.getBoundingClientRect();
    const half = box.width / 2;
    const inside = event.clientX - box.left;
    look((inside % half) / half, (event.clientY - box.top) / box.height);
  };
  frame.addEventListener("pointermove", follow);
  frame.addEventListener("pointerdown", follow);
  frame.addEventListener("pointerleave", () => frame.classList.remove("near"));
  range?.addEventListener("blur", () => frame.classList.remove("near"));
  range?.addEventListener("keydown", (event) => {
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (!isOn() || !ways[event.key]) return;
    event.preventDefault();
    look(point.x + ways[event.key][0] / 16, point.y + ways[event.key][1] / 16);
  });
}

// The vote: pictures of the page, their sides drawn by lot here; nothing leaves but by its file.
const interval = (wins, votes, level) => {
  if (!votes) return [0, 1];
  const logFactorial = (n) => {
    let sum = 0;
    for (let k = 2; k <= n; k++) sum += Math.log(k);
    return sum;
  };
  const losses = votes - wins;
  const mixture = logFactorial(wins) + logFactorial(losses) - logFactorial(votes + 1);
  const isOut = (p) => mixture - wins * Math.log(p) - losses * Math.log1p(-p) >= -Math.log(1 - level);
  const bisect = (low, high, reached) => {
    for (let k = 0; k < 100; k++) {
      const middle = (low + high) / 2;
      if (reached(middle)) high = middle;
      else low = middle;
    }
    return high;
  };
  const share = Math.min(1 - 1e-9, Math.max(1e-9, wins / votes));
  const low = wins ? bisect(1e-12, share, (p) => !isOut(p)) : 0;
  return [low, losses ? bisect(share, 1 - 1e-12, isOut) : 1];
};
const percent = (share) => Math.round(100 * share) + " %";
const asking = document.getElementById("vote-data");
if (asking) {
  const { question, where, pairs, sides, level } = JSON.parse(asking.textContent);
  const id = (name) => document.getElementById("vote-" + name);
  const dialog = document.getElementById("vote");
  const frames = [...document.querySelectorAll(where + " .frame")];
  const lot = (count) => crypto.getRandomValues(new Uint32Array(1))[0] % count;
  let slips = [];
  let votes = [];
  const begin = () => {
    slips = pairs.map((pair, k) => ({ ...pair, frame: frames[k], firstIsLeft: lot(2) === 0 }));
    for (let k = slips.length - 1; k > 0; k--) {
      const other = lot(k + 1);
      [slips[k], slips[other]] = [slips[other], slips[k]];
    }
    votes = [];
    next();
    dialog.showModal();
  };
  const next = () => {
    const slip = slips[votes.length];
    for (const part of dialog.querySelectorAll(".vote-pair, .vote-buttons, #vote-prompt"))
      part.style.display = slip ? "" : "none";
    id("end").hidden = Boolean(slip);
    if (!slip) return count();
    const [first, second] = slip.frame.querySelectorAll("img");
    id("asked").textContent = `Pair ${votes.length + 1} of ${slips.length}: which one is ${question}?`;
    id("prompt").textContent = slip.prompt;
    id("left").src = (slip.firstIsLeft ? first : second).src;
    id("right").src = (slip.firstIsLeft ? second : first).src;
  };
  const vote = (place) => {
    const slip = slips[votes.length];
    if (!slip) return;
    const isFirst = (place === "left") === slip.firstIsLeft;
    const choice = place === "equal" ? "equal" : isFirst ? "first" : "second";
    votes.push({ prompt: slip.prompt, seed: slip.seed, choice });
    next();
  };
  const count = () => {
    const won = (side) => votes.filter((one) => one.choice === side).length;
    const [first, second] = [won("first"), won("second")];
    const decided = first + second;
    const leads = second > first ? 1 : 0;
    const most = Math.max(first, second);
    const [low, high] = interval(most, decided, level);
    const [verb, wins] =
      question === "spoilt"
        ? ["was called spoilt in", "is spoilt more often"]
        : ["won", "is preferred"];
    const settled = low > 0.5 ? `${sides[leads]} ${wins}, for these prompts.` : "that could be chance.";
    id("asked").textContent = "What the votes say";
    id("said").textContent = decided
      ? `${sides[leads]} ${verb} ${most} of ${decided} votes against ${sides[1 - leads]} ` +
        `(interval ${percent(low)} to ${percent(high)}): ${settled}`
      : "Every pair was called equal.";
    file();
  };
  const file = () => {
    const rater = id("rater").value.trim() || "rater " + String(lot(1e6)).padStart(6, "0");
    const sheet = { rater, question, sides, votes };
    const data = new Blob([JSON.stringify(sheet, null, 1)], { type: "application/json" });
    URL.revokeObjectURL(id("save").href);
    id("save").href = URL.createObjectURL(data);
    id("save").download = `votes-${rater.toLowerCase().replace(/[^a-z0-9]+/g, "-")}.json`;
  };
  id("open").addEventListener("click", begin);
  id("close").addEventListener("click", () => dialog.close());
  id("rater").addEventListener("input", file);
  for (const button of dialog.querySelectorAll("[data-place]"))
    button.addEventListener("click", () => vote(button.dataset.place));
  dialog.addEventListener("keydown", (event) => {
    const places = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "equal" };
    if (!places[event.key] || event.target === id("rater")) return;
    event.preventDefault();
    vote(places[event.key]);
  });
}
