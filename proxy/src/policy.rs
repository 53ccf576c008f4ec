//! What a request may do: rate limits, faults, retries, time-outs.
