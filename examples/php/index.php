<?php
header('Content-Type: text/plain');
printf("hello from worker %s, generation %s\n", getenv('FUGUE_WORKER'), getenv('FUGUE_GENERATION'));
