<?php
usleep(1000 * (int) ($_GET['ms'] ?? 0));
header('X-Version: ' . getenv('VERSION'));
header('X-Pid: ' . getmypid());
echo "php\n";
