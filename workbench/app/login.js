// Gradio's login page says nothing to an answer other than "right" and "wrong".
const ask = window.fetch;
window.fetch = async (...given) => {
  const answer = await ask(...given);
  // window.URL: in an element's own handler, URL is the document's address.
  if (new window.URL(answer.url).pathname.endsWith('/login')) {
    const said = document.getElementById('login-wait');
    const seconds = answer.headers.get('Retry-After');
    said.hidden = answer.status !== 429;
    said.textContent = said.dataset.words.replace('[seconds]', seconds);
  }
  return answer;
};
