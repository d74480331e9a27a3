// As amd64.S, which says why.

.equ MACHINE, 183
	.include "header.inc"

.equ SYS_WRITE, 64
.equ SYS_EXIT_GROUP, 94
.equ SYS_RT_SIGACTION, 134
.equ SYS_RT_SIGPROCMASK, 135

// A system call changes x0 alone. Kept in others:
//	x19  the data
//	x20  the step
//	w21  its flags
//	x22  where the next decimal number goes

_start:
	mov	x19, #DATA
	mov	w20, #SIGNALS
1:	mov	w0, w20
	add	x1, x19, #ZEROS
	mov	x2, xzr
	mov	x3, #SIGSET_SIZE
	mov	x8, #SYS_RT_SIGACTION
	svc	#0
	subs	w20, w20, #1
	b.ne	1b

	mov	x0, #SIG_SETMASK
	add	x1, x19, #ZEROS
	mov	x2, xzr
	mov	x3, #SIGSET_SIZE
	mov	x8, #SYS_RT_SIGPROCMASK
	svc	#0

	ldr	x20, [x19, #TAPE]
step:
	ldp	x0, x1, [x20, #ARGUMENTS]
	ldp	x2, x3, [x20, #ARGUMENTS+16]
	ldp	x4, x5, [x20, #ARGUMENTS+32]
	ldr	w21, [x20, #FLAGS]
	tbz	w21, #1, 1f		// LOAD
	ldr	x0, [x0]
1:	ldr	w8, [x20, #NUMBER]
	cmn	w8, #1			// WRITE_DECIMAL
	b.eq	decimal
	svc	#0
	cmn	x0, #4095
	b.hs	failed
	ldr	x9, [x20, #STORE]
	cbz	x9, next
	str	x0, [x9]
next:
	add	x20, x20, #STEP
	b	step

decimal:
	cmp	x1, xzr
	csel	x22, x1, x22, ne
	mov	x9, #10
	mov	w10, wzr		// how many digits are on the stack
1:	udiv	x11, x0, x9
	msub	x12, x11, x9, x0
	add	w12, w12, #'0'
	str	x12, [sp, #-16]!
	add	w10, w10, #1
	mov	x0, x11
	cbnz	x0, 1b
2:	ldr	x12, [sp], #16
	strb	w12, [x22], #1
	subs	w10, w10, #1
	b.ne	2b
	strb	w2, [x22], #1
	b	next

failed:
	tbnz	w21, #0, next		// MAY_FAIL
	neg	w0, w0
	str	w0, [x19, #ERRNO]
	ldr	x9, [x19, #TAPE]
	sub	x20, x20, x9
	lsr	x20, x20, #STEP_SHIFT
	str	w20, [x19, #INDEX]
	ldr	w0, [x19, #REPORT]
	add	x1, x19, #RECORD
	mov	x2, #RECORD_SIZE
	mov	x8, #SYS_WRITE
	svc	#0
	mov	x0, #EXIT_STATUS
	mov	x8, #SYS_EXIT_GROUP
	svc	#0
end:
