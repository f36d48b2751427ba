-- Runs on answers, with a status of a refusal, of destinations whose requests carry a credential of ours. Written in front of this by xds/watch.py:
-- STATUSES and CODES of the integration, REASON, REFUSED, NAMESPACE, SIGHTING, ASKED_ID, INTERVAL (seconds), BODY (bytes).

-- Of this worker thread: when a policy was last told of, and refusals since.
local told, refused = {}, {}

-- Error codes as AWS and most others write them: XML, JSON, or a header.
local function find_code(headers, text)
  local header = headers:get("x-amzn-errortype")
  return (header and string.match(header, "^([%w]+)"))
    or string.match(text, "<Code>%s*([%w]+)%s*</Code>")
    or string.match(text, '"__type"%s*:%s*"[^"]-([%w]+)"')
    or string.match(text, '"[cC]ode"%s*:%s*"([%w_]+)"')
    or string.match(text, '"error"%s*:%s*"([%w_]+)"')
end

-- The whole body is replaced: some services quote what was signed, session token included.
local function answer(handle, headers, code)
  -- It is noted where an access log is written; elsewhere nobody could look it up.
  local id = handle:streamInfo():filterState():get(ASKED_ID)
  local length = handle:body():setBytes(
    "The service refused the credential that this gateway put on the request (" .. code .. ")."
      .. (id and " Request id: " .. tostring(id) or "") .. "\n")
  for _, name in ipairs({"transfer-encoding", "etag", "www-authenticate", "x-amzn-errortype", "x-amz-id-2"}) do
    headers:remove(name)
  end
  headers:replace(":status", "502")
  headers:replace(REASON, REFUSED)
  if id then headers:replace("x-request-id", tostring(id)) end
  headers:replace("content-type", "text/plain")
  headers:replace("content-length", tostring(length))
end

function envoy_on_response(handle)
  local headers = handle:headers()
  -- An answer of our own; the destination's header of this name is gone by now.
  if headers:get(REASON) then return end
  local now = os.time()
  local policy = handle:filterContext():get("policy")
  local date, age = headers:get("date"), headers:get("age")
  local code
  if STATUSES[headers:get(":status")] and not headers:get("content-encoding") then
    local body = handle:body()
    -- What was taken from the handle before its body came is dead by now.
    headers = handle:headers()
    local text = body and body:getBytes(0, math.min(body:length(), BODY)) or ""
    code = find_code(headers, text)
    if code and CODES[code] and body then
      answer(handle, headers, code)
    else
      code = nil
    end
  end
  if code then
    refused[policy] = (refused[policy] or 0) + 1
  end
  local last = told[policy] or 0
  if now - last < INTERVAL and not (code and now > last) then return end
  told[policy] = now
  handle:streamInfo():dynamicMetadata():set(NAMESPACE, SIGHTING,
    {policy = policy, date = date or "", age = age or "", code = code or "", refused = code and refused[policy] or 0})
  if code then refused[policy] = 0 end
end
