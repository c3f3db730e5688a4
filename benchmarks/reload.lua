-- For `reload.py --wrk`: counts answers by status and version, complete ones only; and wrk's own errors.

local threads = {}

function setup(thread)
   table.insert(threads, thread)
end

function init()
   counts = {}
end

function response(status, _, body)
   local version = body:match("^([^;]*;)") or ""
   local what = status .. " " .. (body == version:rep(100) and version:sub(1, -2) or "broken")
   counts[what] = (counts[what] or 0) + 1
end

function done(summary)
   for _, thread in ipairs(threads) do
      for what, count in pairs(thread:get("counts")) do
         print("answers", what, count)
      end
   end
   for _, what in ipairs({"connect", "read", "write", "status", "timeout"}) do
      print("errors", what, summary.errors[what])
   end
end
