-- wrk's script: what to send is in its arguments (METHOD BYTES), and its last line is for load_of() of measured.py.
function init(args)
  wrk.method = args[1] or "GET"
  local bytes = tonumber(args[2] or "0")
  if bytes > 0 then wrk.body = string.rep("x", bytes) end
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format('RESULT {"requests": %d, "us": %d, "p50": %.0f, "p99": %.0f, "failed": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.timeout + errors.status))
end
