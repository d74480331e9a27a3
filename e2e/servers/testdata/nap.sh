# QUERY_STRING is ms=N.
ms=${QUERY_STRING#ms=}
printf 'Content-Type: text/plain\r\n\r\n'
sleep "$((ms / 1000)).$(printf %03d "$((ms % 1000))")"
echo lighttpd
