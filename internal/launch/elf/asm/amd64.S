# What runs between the fork of a worker and its command: it brings the signals
# back to their defaults, and makes the system calls of a tape, which the master
# wrote for this one worker. It is assembled by build.sh and never at a build
# of fugue. It looks at no argument and at no environment.

.equ MACHINE, 62
	.include "header.inc"

.equ SYS_WRITE, 1
.equ SYS_RT_SIGACTION, 13
.equ SYS_RT_SIGPROCMASK, 14
.equ SYS_EXIT_GROUP, 231

# Kept over system calls, which change rax, rcx and r11:
#	rbp  the data
#	rbx  the step
#	r13  its flags
#	r14  where the next decimal number goes

_start:
	# What the master ignores, its children ignore, and an exec does not undo
	# it. Signals were blocked since before the fork: one that has come since
	# then acts below, with its default action. KILL and STOP refuse, rightly.
	mov	$DATA, %ebp
	mov	$SIGNALS, %ebx
1:	mov	%ebx, %edi
	lea	ZEROS(%rbp), %rsi
	xor	%edx, %edx
	mov	$SIGSET_SIZE, %r10d
	mov	$SYS_RT_SIGACTION, %eax
	syscall
	dec	%ebx
	jnz	1b

	mov	$SIG_SETMASK, %edi
	lea	ZEROS(%rbp), %rsi
	xor	%edx, %edx
	mov	$SIGSET_SIZE, %r10d
	mov	$SYS_RT_SIGPROCMASK, %eax
	syscall

	# The last step is an execve, which returns only to fail.
	mov	TAPE(%rbp), %rbx
step:
	mov	ARGUMENTS(%rbx), %rdi
	mov	ARGUMENTS+8(%rbx), %rsi
	mov	ARGUMENTS+16(%rbx), %rdx
	mov	ARGUMENTS+24(%rbx), %r10
	mov	ARGUMENTS+32(%rbx), %r8
	mov	ARGUMENTS+40(%rbx), %r9
	mov	FLAGS(%rbx), %r13d
	test	$LOAD, %r13d
	jz	1f
	mov	(%rdi), %rdi
1:	mov	NUMBER(%rbx), %eax
	cmp	$WRITE_DECIMAL, %eax
	je	decimal
	syscall
	cmp	$-4095, %rax
	jae	failed
	mov	STORE(%rbx), %rcx
	test	%rcx, %rcx
	jz	next
	mov	%rax, (%rcx)
next:
	add	$STEP, %rbx
	jmp	step

# decimal writes its first argument in decimal, and the byte that is its third
# argument behind it, where its second says, or behind the last, if that is 0.
decimal:
	test	%rsi, %rsi
	cmovnz	%rsi, %r14
	mov	%rdi, %rax
	mov	%rdx, %r8
	mov	$10, %ecx
	xor	%edi, %edi
1:	xor	%edx, %edx
	div	%rcx
	add	$'0', %edx
	push	%rdx
	inc	%edi
	test	%rax, %rax
	jnz	1b
2:	pop	%rax
	mov	%al, (%r14)
	inc	%r14
	dec	%edi
	jnz	2b
	mov	%r8b, (%r14)
	inc	%r14
	jmp	next

failed:
	test	$MAY_FAIL, %r13d
	jnz	next
	neg	%eax
	mov	%eax, ERRNO(%rbp)
	sub	TAPE(%rbp), %rbx
	shr	$STEP_SHIFT, %rbx
	mov	%ebx, INDEX(%rbp)
	mov	REPORT(%rbp), %edi
	lea	RECORD(%rbp), %rsi
	mov	$RECORD_SIZE, %edx
	mov	$SYS_WRITE, %eax
	syscall
	mov	$EXIT_STATUS, %edi
	mov	$SYS_EXIT_GROUP, %eax
	syscall
end:
