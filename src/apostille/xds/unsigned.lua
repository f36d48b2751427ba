-- Runs on requests that Envoy's signer has left without the signature that they need: none of them is sent.
-- The answers are those of the auth service, and so is their order.

local OURS = {
  ["host;x-amz-content-sha256;x-amz-date"] = true,
  ["host;x-amz-content-sha256;x-amz-date;x-amz-security-token"] = true,
}

function envoy_on_request(handle)
  local headers = handle:headers()
  local signature = headers:get("authorization") or ""
  local signed = string.match(signature, "^AWS4%-HMAC%-SHA256 .*, SignedHeaders=([^,]*), ")
  if signed and not OURS[signed] then
    -- Signed along with ours was an x-amz- header that the policy does not allow.
    handle:respond({[":status"] = "403", ["x-apostille-reason"] = "header_not_allowed"}, "")
  elseif signed and headers:get("x-amz-content-sha256") ~= "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" then
    -- A body in chunks; nothing before its first byte tells of it.
    local text = "The service wants to know the length of an upload: send Content-Length instead of chunks.\n"
    handle:respond({[":status"] = "411", ["x-apostille-reason"] = "length_required"},
      headers:get(":method") == "HEAD" and "" or text)
  else
    handle:respond({[":status"] = "503", ["x-apostille-reason"] = "sign_failed"}, "")
  end
end
