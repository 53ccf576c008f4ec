// How the Node clients of Weft's tests are called, and how they report.
"use strict";

const { parseArgs } = require("node:util");

const CASE_TIMEOUT = 60; // seconds
const SECONDS_MAX = 600;

/** The options of a client with these cases; ends the process with 2 where one is wrong, and after --list. */
function readOptions(cases, more = {}) {
  let values;
  try {
    ({ values } = parseArgs({
      options: {
        list: { type: "boolean", default: false },
        target: { type: "string" },
        authority: { type: "string" },
        case: { type: "string" },
        seconds: { type: "string", default: "2" },
        ...more,
      },
    }));
  } catch (error) {
    refuse(error.message);
  }
  if (values.list) {
    console.log(Object.keys(cases).join("\n"));
    process.exit(0);
  }
  for (const name of ["target", "authority", "case"]) {
    if (!values[name]) refuse(`--${name}: is required`);
  }
  const names = values.case === "all" ? Object.keys(cases) : values.case.split(",");
  for (const name of names) {
    if (!Object.hasOwn(cases, name)) {
      refuse(`--case: must be one of ${Object.keys(cases).join(", ")} or all, got "${name}"`);
    }
  }
  const seconds = Number(values.seconds);
  if (!Number.isInteger(seconds) || seconds < 0 || seconds > SECONDS_MAX) {
    refuse(`--seconds: must be 0 to ${SECONDS_MAX}, got ${values.seconds}`);
  }
  return { ...values, case: names, seconds };
}

function refuse(message) {
  console.error(message);
  process.exit(2);
}

/** Runs the cases asked for, one after the other, and ends the process. */
async function runCases(cases, options, context) {
  let passed = true;
  for (const name of options.case) {
    const line = await runCase(name, cases[name], options, context);
    console.log(JSON.stringify(line));
    passed &&= line.passed;
  }
  process.exit(passed ? 0 : 1);
}

async function runCase(name, body, options, context) {
  const limit = CASE_TIMEOUT + options.seconds;
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not over after ${limit} s`)), limit * 1_000);
  });
  try {
    return { case: name, passed: true, saw: await Promise.race([body(context), late]) };
  } catch (error) {
    return { case: name, passed: false, error: `${error.message ?? error}` };
  } finally {
    clearTimeout(timer);
  }
}

module.exports = { readOptions, runCases };
