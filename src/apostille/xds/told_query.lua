-- Runs on requests of routes whose guard may take a key out of the query, after the guard. Written in front of this by xds/told_query.py:
-- NAMESPACE and KEY of the dynamic metadata that holds what the auth service has told; REASON and UNTOLD, the header that says why not and what it says.

function envoy_on_request(handle)
  local told = handle:streamInfo():dynamicMetadata():get(NAMESPACE)
  local query = told and told[KEY]
  local path = handle:headers():get(":path")
  if type(query) ~= "string" or string.sub(query, 1, 1) ~= "?" or not path then
    -- The key would go on, into the logs of whoever is asked next.
    handle:respond({[":status"] = "503", [REASON] = UNTOLD}, "")
    return
  end
  local mark = string.find(path, "?", 1, true)
  local bare = mark and string.sub(path, 1, mark - 1) or path
  handle:headers():replace(":path", query == "?" and bare or bare .. query)
end
