"use strict";
const find = (id) => document.getElementById(id);
const isImage = (name) => /\.nii(\.gz)?$/i.test(name);
let about = null, busy = false, page = null;

function say(text, kind = "") {
  find("status").textContent = text;
  find("status").className = kind;
}

function complain(error) {
  say(error instanceof TypeError ? "the server cannot be reached: is neuroprint serve still running?" : error.message, "error");
}

async function answer(response) {
  if (response.ok) return response;
  let message = "the server answered " + response.status;
  try { message = (await response.json()).error; } catch { /* not from neuroprint */ }
  throw new Error(message);
}

async function send(body, headers, name) {
  if (busy) return say("one case at a time: the last one is still being read", "busy");
  if (about && body.size > about.upload_bytes)
    return say(`${name} has ${Math.round(body.size / 2 ** 20)} MiB, expected at most ${about.upload_bytes / 2 ** 20} MiB`, "error");
  busy = true;
  find("result").hidden = true;
  say(`reading ${name}: seconds to a minute, longer while others wait`, "busy");
  try {
    const options = new URLSearchParams({ k: find("k").value, group: find("group").value });
    const response = await answer(await fetch("report?" + options, { method: "POST", body, headers }));
    show(await response.text(), name);
    say("");
  } catch (error) {
    complain(error);
  } finally {
    busy = false;
  }
}

function show(text, name) {
  const frame = find("report");
  frame.onload = () => {
    const fit = () => { frame.style.height = frame.contentDocument.documentElement.scrollHeight + 4 + "px"; };
    new ResizeObserver(fit).observe(frame.contentDocument.body);
    fit();
  };
  frame.srcdoc = text;
  find("result").hidden = false;
  if (page) URL.revokeObjectURL(page);
  page = URL.createObjectURL(new Blob([text], { type: "text/html" }));
  find("save").href = page;
  find("save").download = name.replace(/\.zip$/i, "").replace(/[^\w.-]/g, "_") + ".html";
}

const sendZip = (file) => send(file, { "Content-Type": "application/zip" }, file.name);

function sendFiles(found) {
  const images = found.filter(({ path }) => isImage(path));
  if (!images.length) return say("there is no .nii or .nii.gz file in it", "error");
  const names = images.map(({ path, file }) => [path, file.size]);
  const folder = names[0][0].split("/").slice(-2, -1)[0] || names[0][0];
  send(new Blob(images.map(({ file }) => file)), { "Content-Type": "application/x-neuroprint-folder",
    "Neuroprint-Files": encodeURIComponent(JSON.stringify(names)) }, folder);
}

async function walk(entry) {
  if (entry.isFile) {
    const file = await new Promise((done, fail) => entry.file(done, fail));
    return [{ path: entry.fullPath.replace(/^\//, ""), file }];
  }
  const reader = entry.createReader(), found = [];
  for (;;) {
    const some = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!some.length) return found;
    for (const inner of some) found.push(...await walk(inner));
  }
}

const drop = find("drop");
drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", async (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
  const found = (await Promise.all(entries.map(walk))).flat();
  if (found.length === 1 && /\.zip$/i.test(found[0].path)) sendZip(found[0].file);
  else sendFiles(found);
});
drop.addEventListener("keydown", (event) => {
  if (event.target === drop && (event.key === "Enter" || event.key === " ")) find("folder").click();
});
for (const event of ["dragover", "drop"]) addEventListener(event, (other) => other.preventDefault());
find("folder").addEventListener("change", ({ target }) => {
  sendFiles([...target.files].map((file) => ({ path: file.webkitRelativePath || file.name, file })));
  target.value = "";
});
find("zip").addEventListener("change", ({ target }) => {
  if (target.files.length) sendZip(target.files[0]);
  target.value = "";
});
find("form").addEventListener("submit", (event) => event.preventDefault());

fetch("api/bundle").then(answer).then((response) => response.json()).then((found) => {
  about = found;
  find("about").textContent = `${found.cases} cases of ${found.name}, by ${found.modalities.join(", ")}`;
  for (const name of found.groups) find("group").append(new Option(name, name));
}).catch(complain);
