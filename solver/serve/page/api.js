// Asking the service: the newest question wins, and a token goes along where one is asked for.

let token = sessionStorage.getItem("token");

export function useToken(value) {
  token = value;
  sessionStorage.setItem("token", value);
}

/** A problem of the service's, as it says it. */
export class Problem extends Error {
  constructor(values) {
    super(values.detail);
    Object.assign(this, { status: values.status, field: values.field });
  }
}

export async function ask(path, body) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const options = body === undefined ? { headers } : {
    method: "POST", headers: { ...headers, "Content-Type": "application/json" }, body: JSON.stringify(body),
  };
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Problem({ status: 0, detail: "The service does not answer. Is it still running?" });
  }
  const values = await response.json().catch(() => ({ status: response.status, detail: `${response.status} ${response.statusText}` }));
  if (!response.ok) throw new Problem(values);
  return values;
}

/**
 * `run` with the newest arguments, one at a time: while one question is out, later ones replace each other, so that a
 * slider never queues up work.
 */
export function newest(run) {
  let waiting = null, busy = false;
  return async function next(...args) {
    waiting = args;
    if (busy) return;
    busy = true;
    while (waiting) {
      const now = waiting;
      waiting = null;
      await run(...now);
    }
    busy = false;
  };
}
